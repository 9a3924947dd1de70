/* A TLS client with the library linked in: one handshake with 127.0.0.1:PORT, and it ends. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char answer[4096];
    struct sockaddr_in peer = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (argc != 2) return 1;
    peer.sin_family = AF_INET;
    peer.sin_port = htons(atoi(argv[1]));
    inet_pton(AF_INET, "127.0.0.1", &peer.sin_addr);
    if (connect(fd, (struct sockaddr *)&peer, sizeof peer)) return 2;
    SSL *ssl = SSL_new(SSL_CTX_new(TLS_client_method()));
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) return 3;
    SSL_write(ssl, "GET / HTTP/1.0\r\n\r\n", 18);
    while (SSL_read(ssl, answer, sizeof answer) > 0) {}
    SSL_shutdown(ssl);
    return 0;
}
