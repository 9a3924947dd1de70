/* A client in C, for programs with their TLS library linked statically, and for roots with little in them:
 * CERT TIMES PORT...
 *
 * Says `waiting`; for each line it shakes hands TIMES times with each PORT, and says `done`; ends with its input. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static int handshake(SSL_CTX *context, int port) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  int connection = socket(AF_INET, SOCK_STREAM, 0);
  if (connection < 0 || connect(connection, (struct sockaddr *)&address, sizeof address) != 0) return 0;
  SSL *ssl = SSL_new(context);
  SSL_set_fd(ssl, connection);
  SSL_set1_host(ssl, "localhost");
  static const char request[] = "GET / HTTP/1.0\r\n\r\n";
  char answer[65536];
  int done = SSL_connect(ssl) == 1 && SSL_write(ssl, request, sizeof request - 1) > 0;
  while (done && SSL_read(ssl, answer, sizeof answer) > 0) {
  }
  SSL_free(ssl);
  close(connection);
  return done;
}

int main(int count, char **arguments) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
  if (count < 4 || !SSL_CTX_load_verify_locations(context, arguments[1], NULL)) return 2;
  puts("waiting");
  fflush(stdout);
  char line[64];
  while (fgets(line, sizeof line, stdin)) {
    for (int at = 3; at < count; at++) {
      for (int left = atoi(arguments[2]); left > 0; left--) {
        if (!handshake(context, atoi(arguments[at]))) return 1;
      }
    }
    puts("done");
    fflush(stdout);
  }
  return 0;
}
