// A TLS client or server on Go's own crypto/tls: `client CERTIFICATE TIMES PORT...` or `server CERTIFICATE KEY`.
//
// The client says `waiting`, waits for a line, and then shakes hands TIMES times with each port of localhost. The
// server says `ACCEPT ADDRESS`, and greets everyone. Neither has a key log. Built with openssl.go, the client then shakes
// hands by OpenSSL as many times.
package main

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"os"
	"strconv"
)

var byOpenssl func(certificate string, times int, ports []string)

func main() {
	log.SetFlags(0)
	if len(os.Args) < 4 {
		log.Fatal("client CERTIFICATE TIMES PORT... or server CERTIFICATE KEY")
	}
	switch os.Args[1] {
	case "client":
		client(os.Args[2], os.Args[3], os.Args[4:])
	case "server":
		server(os.Args[2], os.Args[3])
	}
}

func client(certificate, number string, ports []string) {
	pem, err := os.ReadFile(certificate)
	check(err)
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(pem) {
		log.Fatal("no certificate")
	}
	times, err := strconv.Atoi(number)
	check(err)
	fmt.Println("waiting")
	_, err = bufio.NewReader(os.Stdin).ReadString('\n')
	check(err)
	for _, port := range ports {
		for i := 0; i < times; i++ {
			connection, err := tls.Dial("tcp", "127.0.0.1:"+port, &tls.Config{RootCAs: roots, ServerName: "localhost"})
			check(err)
			_, err = io.WriteString(connection, "GET / HTTP/1.0\r\n\r\n")
			check(err)
			// Until the server ends the connection, with or without close_notify.
			_, _ = io.Copy(io.Discard, connection)
			_ = connection.Close()
		}
	}
	if byOpenssl != nil {
		byOpenssl(certificate, times, ports)
	}
}

func server(certificate, key string) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	check(err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: []tls.Certificate{pair}})
	check(err)
	fmt.Println("ACCEPT " + listener.Addr().String())
	for {
		connection, err := listener.Accept()
		check(err)
		go func() {
			_, _ = io.WriteString(connection, "hello\n")
			_ = connection.Close()
		}()
	}
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
