/* The workload of `cargo xtask bench`: both ends of TLS in one process. CERT KEY KEYLOG
 *
 * Answers its start and each line of its input with a line of JSON, numbered from 0, so that whoever measures it can attach
 * in between; ends with its input.
 *
 *   handshakes VERSION WIRE KIND SECONDS RATE   VERSION 1.2 or 1.3; WIRE memory or loopback; KIND full or resumed;
 *                                               RATE so many a second, or 0 for as many as it can
 *   bulk WIRE SIZE SECONDS                      from the client to the server over TLS 1.3, in records of SIZE bytes
 *   hits WIRE COUNT LABEL                       calls of an empty function as the library calls the one that logs secrets, for
 *                                               a connection of TLS 1.2: the call is for a probe of whoever measures
 *   place                                       where in this program's file that call is
 *   log none|memory|both|file                   what its own key log is: the client's lines, or both ends' (each line twice);
 *                                               file writes each line as programs do
 *   save                                        writes the log in memory to KEYLOG, and the nanosecond
 *                                               (CLOCK_MONOTONIC) of each of its lines to KEYLOG.times */
#include <arpa/inet.h>
#include <link.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 1 << 16 };

static SSL_CTX *client_context, *server_context;
static const char *keylog_path;
static FILE *keylog_file;

static int answers;

static void fail(const char *what) {
  printf("{\"error\":\"%s\"}\n", what);
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec now;
  clock_gettime(clock, &now);
  return now.tv_sec + now.tv_nsec / 1e9;
}

/* The log in memory: lines, and the moment of each. */
static struct { char *text; size_t length, room; long long *times; size_t lines, places; } kept;

static void keep(const SSL *ssl, const char *line) {
  (void)ssl;
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  size_t length = strlen(line) + 1;
  if (kept.length + length > kept.room) {
    kept.room = 2 * kept.room + (1 << 20);
    kept.text = realloc(kept.text, kept.room);
  }
  if (kept.lines == kept.places) {
    kept.places = 2 * kept.places + 4096;
    kept.times = realloc(kept.times, kept.places * sizeof *kept.times);
  }
  if (!kept.text || !kept.times) fail("no memory for the key log");
  memcpy(kept.text + kept.length, line, length);
  kept.text[kept.length + length - 1] = '\n';
  kept.length += length;
  kept.times[kept.lines++] = now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void write_line(const SSL *ssl, const char *line) {
  (void)ssl;
  fprintf(keylog_file, "%s\n", line);
}

/* Only the client's, unless both are wanted: the server's has the same lines. */
static void set_log(const char *mode) {
  SSL_CTX_keylog_cb_func callback = NULL;
  int both = !strcmp(mode, "both");
  if (both || !strcmp(mode, "memory")) callback = keep;
  if (!strcmp(mode, "file")) {
    if (!keylog_file && !(keylog_file = fopen(keylog_path, "a"))) fail("cannot open the key log");
    setvbuf(keylog_file, NULL, _IOLBF, BUFSIZ);
    callback = write_line;
  }
  SSL_CTX_set_keylog_callback(client_context, callback);
  SSL_CTX_set_keylog_callback(server_context, both ? callback : NULL);
  printf("{\"answer\":%d}\n", answers++);
}

static void save(void) {
  char path[4096];
  snprintf(path, sizeof path, "%s.times", keylog_path);
  FILE *log = fopen(keylog_path, "a"), *times = fopen(path, "a");
  if (!log || !times) fail("cannot open the key log");
  fwrite(kept.text, 1, kept.length, log);
  for (size_t at = 0; at < kept.lines; at++) fprintf(times, "%lld\n", kept.times[at]);
  if (fclose(log) | fclose(times)) fail("cannot write the key log");
  printf("{\"answer\":%d,\"lines\":%zu}\n", answers++, kept.lines);
  kept.length = kept.lines = 0;
}

/* One connection. Over memory both ends belong to this thread, over the loopback the server's to another. */
struct pair { SSL *client, *server; int socket; };

static SSL *client_for(int version) {
  SSL *client = SSL_new(client_context);
  SSL_set_connect_state(client);
  SSL_set_min_proto_version(client, version);
  SSL_set_max_proto_version(client, version);
  SSL_set1_host(client, "localhost");
  SSL_set_tlsext_host_name(client, "localhost");
  return client;
}

static struct pair over_memory(int version, SSL_SESSION *session) {
  BIO *left, *right;
  if (!BIO_new_bio_pair(&left, BUFFER, &right, BUFFER)) fail("BIO_new_bio_pair");
  struct pair pair = {client_for(version), SSL_new(server_context), -1};
  SSL_set_accept_state(pair.server);
  SSL_set_bio(pair.client, left, left);
  SSL_set_bio(pair.server, right, right);
  if (session) SSL_set_session(pair.client, session);
  for (int turns = 0; !SSL_is_init_finished(pair.client) || !SSL_is_init_finished(pair.server); turns++) {
    SSL_do_handshake(pair.client);
    SSL_do_handshake(pair.server);
    if (turns > 8) fail("the handshake does not end");
  }
  return pair;
}

static int listener;
static struct sockaddr_in address = {.sin_family = AF_INET};

/* Says one byte when the handshake is done, and reads what comes. */
static void *serve(void *nothing) {
  static char bytes[BUFFER];
  for (;;) {
    int socket = accept(listener, NULL, NULL), yes = 1;
    setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    SSL *server = SSL_new(server_context);
    SSL_set_fd(server, socket);
    if (SSL_accept(server) == 1 && SSL_write(server, "!", 1) == 1) {
      while (SSL_read(server, bytes, sizeof bytes) > 0) {
      }
    }
    SSL_free(server);
    close(socket);
  }
  return nothing;
}

static void listen_once(void) {
  pthread_t thread;
  socklen_t length = sizeof address;
  if (listener) return;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  listener = socket(AF_INET, SOCK_STREAM, 0);
  if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 16) ||
      getsockname(listener, (struct sockaddr *)&address, &length) || pthread_create(&thread, NULL, serve, NULL)) {
    fail("cannot listen");
  }
}

static struct pair over_loopback(int version, SSL_SESSION *session) {
  listen_once();
  int yes = 1;
  /* Closed by a reset: a port would wait for a minute else, and they run out. */
  struct linger at_once = {1, 0};
  struct pair pair = {client_for(version), NULL, socket(AF_INET, SOCK_STREAM, 0)};
  setsockopt(pair.socket, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
  setsockopt(pair.socket, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  char byte;
  if (connect(pair.socket, (struct sockaddr *)&address, sizeof address)) fail("connect");
  SSL_set_fd(pair.client, pair.socket);
  if (session) SSL_set_session(pair.client, session);
  if (SSL_connect(pair.client) != 1 || SSL_read(pair.client, &byte, 1) != 1) fail("the handshake over the loopback");
  return pair;
}

static void end(struct pair pair) {
  /* Else OpenSSL takes the session for one that broke off, and does not resume it. */
  SSL_set_shutdown(pair.client, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
  SSL_free(pair.client);
  if (pair.server) SSL_free(pair.server);
  if (pair.socket >= 0) close(pair.socket);
}

/* A measured section: from here to `report`. */
struct section { double start, cpu, length; unsigned long long count, bytes; };

static struct section begin(double length) {
  return (struct section){seconds(CLOCK_MONOTONIC), seconds(CLOCK_PROCESS_CPUTIME_ID), length, 0, 0};
}

static int goes_on(const struct section *section) {
  return seconds(CLOCK_MONOTONIC) - section->start < section->length;
}

static void report(const struct section *section) {
  double cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - section->cpu, wall = seconds(CLOCK_MONOTONIC) - section->start;
  printf("{\"answer\":%d,\"count\":%llu,\"bytes\":%llu,\"seconds\":%.9f,\"cpu\":%.9f}\n", answers++, section->count,
         section->bytes, wall, cpu);
}

static void handshakes(int version, int loopback, int resumed, double length, double rate) {
  SSL_SESSION *session = NULL;
  if (resumed) {
    struct pair first = over_memory(version, NULL);
    session = SSL_get1_session(first.client);
    end(first);
  }
  struct section section = begin(length);
  while (goes_on(&section)) {
    struct pair pair = loopback ? over_loopback(version, session) : over_memory(version, session);
    if (session && !SSL_session_reused(pair.client)) fail("the session was not resumed");
    end(pair);
    section.count++;
    double next = section.start + (rate > 0 ? section.count / rate : 0), now = seconds(CLOCK_MONOTONIC);
    if (next > now) {
      struct timespec pause = {(time_t)(next - now), (long)((next - now - (time_t)(next - now)) * 1e9)};
      nanosleep(&pause, NULL);
    }
  }
  report(&section);
  SSL_SESSION_free(session);
}

static void bulk(int loopback, int size, double length) {
  static char from[BUFFER], to[BUFFER];
  if (size < 1 || size > 16384) fail("a record has 1 to 16384 bytes");
  struct pair pair = loopback ? over_loopback(TLS1_3_VERSION, NULL) : over_memory(TLS1_3_VERSION, NULL);
  struct section section = begin(length);
  while (goes_on(&section)) {
    for (int turn = 0; turn < 16; turn++, section.count++, section.bytes += size) {
      if (SSL_write(pair.client, from, size) != size) fail("SSL_write");
      for (int got = 0, left = pair.server ? size : 0; left > 0; left -= got) {
        if ((got = SSL_read(pair.server, to, left)) <= 0) fail("SSL_read");
      }
    }
  }
  report(&section);
  end(pair);
}

/* A call like the library's own, which the kernel emulates: `probed_call` is for a probe. */
void log_nothing(const SSL *ssl, const char *label, const unsigned char *secret, size_t length);
extern const char probed_call[];
__asm__(".text\n"
        ".type log_nothing, @function\n"
        "log_nothing:\n"
        "  sub $8, %rsp\n"
        "probed_call:\n"
        "  call nothing\n"
        "  add $8, %rsp\n"
        "  ret\n"
        "nothing:\n"
        "  ret\n");

/* More of them in one go would fill what the probe's program writes to. */
enum { MOST_HITS = 4000, FIRST_HITS = 50 };

static void hits(int loopback, int count, const char *label) {
  unsigned char secret[48] = {1};
  struct pair pair = loopback ? over_loopback(TLS1_2_VERSION, NULL) : over_memory(TLS1_2_VERSION, NULL);
  if (count < 1 || count > MOST_HITS) fail("too many hits");
  /* The true one where there is one: another would be a conflict. */
  if (!strcmp(label, "CLIENT_RANDOM") &&
      SSL_SESSION_get_master_key(SSL_get_session(pair.client), secret, sizeof secret) != sizeof secret) {
    fail("the master secret");
  }
  for (int hit = 0; hit < FIRST_HITS; hit++) log_nothing(pair.client, label, secret, sizeof secret);
  struct section section = begin(0);
  for (int hit = 0; hit < count; hit++) log_nothing(pair.client, label, secret, sizeof secret);
  section.count = count;
  report(&section);
  end(pair);
}

/* The first bytes of the file are where this program begins in memory. */
extern const char __ehdr_start[];

static void place(void) {
  const ElfW(Ehdr) *header = (const void *)__ehdr_start;
  const ElfW(Phdr) *part = (const void *)(__ehdr_start + header->e_phoff);
  unsigned long long address = probed_call - __ehdr_start;
  for (int at = 0; at < header->e_phnum; at++, part++) {
    if (part->p_type == PT_LOAD && address - part->p_vaddr < part->p_filesz) {
      printf("{\"answer\":%d,\"offset\":%llu}\n", answers++, address - part->p_vaddr + part->p_offset);
      return;
    }
  }
  fail("the probed call is in no segment");
}

static int version_of(const char *text) {
  return strcmp(text, "1.2") ? TLS1_3_VERSION : TLS1_2_VERSION;
}

int main(int count, char **arguments) {
  if (count != 4) return 2;
  keylog_path = arguments[3];
  setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
  client_context = SSL_CTX_new(TLS_client_method());
  server_context = SSL_CTX_new(TLS_server_method());
  SSL_CTX_set_verify(client_context, SSL_VERIFY_PEER, NULL);
  if (!SSL_CTX_load_verify_locations(client_context, arguments[1], NULL) ||
      SSL_CTX_use_certificate_file(server_context, arguments[1], SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_use_PrivateKey_file(server_context, arguments[2], SSL_FILETYPE_PEM) != 1) {
    fail("the certificate");
  }
  printf("{\"answer\":%d}\n", answers++);
  char line[256], version[8], wire[16], kind[16], label[64];
  double length, rate;
  int size;
  while (fgets(line, sizeof line, stdin)) {
    if (sscanf(line, "handshakes %7s %15s %15s %lf %lf", version, wire, kind, &length, &rate) == 5) {
      handshakes(version_of(version), !strcmp(wire, "loopback"), !strcmp(kind, "resumed"), length, rate);
    } else if (sscanf(line, "bulk %15s %d %lf", wire, &size, &length) == 3) {
      bulk(!strcmp(wire, "loopback"), size, length);
    } else if (sscanf(line, "hits %15s %d %63s", wire, &size, label) == 3) {
      hits(!strcmp(wire, "loopback"), size, label);
    } else if (!strncmp(line, "place", 5)) {
      place();
    } else if (sscanf(line, "log %15s", kind) == 1) {
      set_log(kind);
    } else if (!strncmp(line, "save", 4)) {
      save();
    } else {
      fail("no such command");
    }
  }
  return 0;
}
