// With Debian's OpenSSL linked in: two TLS stacks in one file.
package main

/*
#cgo LDFLAGS: -l:libssl.a -l:libcrypto.a -ldl -lpthread
#define main openssl_client
#include "../client.c"

static int openssl_handshake(const char *certificate, int port) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  int done = SSL_CTX_load_verify_locations(context, certificate, NULL) && handshake(context, port);
  SSL_CTX_free(context);
  return done;
}
*/
import "C"

import (
	"log"
	"strconv"
)

func init() {
	byOpenssl = func(certificate string, times int, ports []string) {
		for _, port := range ports {
			number, err := strconv.Atoi(port)
			check(err)
			for i := 0; i < times; i++ {
				if C.openssl_handshake(C.CString(certificate), C.int(number)) != 1 {
					log.Fatal("OpenSSL: no handshake")
				}
			}
		}
	}
}
