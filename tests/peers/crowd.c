// Many processes, or many mappings. It prints "ready" and lives until its standard input ends.
//
//   crowd sleep N [PROGRAM ARGS...]   N processes that do nothing, or are this program
//   crowd fork SECONDS LIMIT          processes that fork and end, at most LIMIT at a time; at the end it prints how many
//   crowd maps N                      N lines in its own /proc/PID/maps

#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static void ready(void) {
    puts("ready");
    fflush(stdout);
    char byte;
    while (read(0, &byte, 1) > 0) {}
}

static void sleepers(int count, char **program) {
    pid_t *children = calloc(count, sizeof *children);
    pid_t parent = getpid();
    for (int i = 0; i < count; i++) {
        children[i] = fork();
        if (children[i] < 0) fail("fork");
        if (children[i] > 0) continue;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) _exit(1);
        int null = open("/dev/null", O_RDWR);
        for (int fd = 0; fd < 3; fd++) dup2(null, fd);
        close(null);
        if (*program) {
            execvp(*program, program);
            _exit(127);
        }
        for (;;) pause();
    }
    ready();
    for (int i = 0; i < count; i++) kill(children[i], SIGKILL);
    while (wait(NULL) > 0) {}
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec + time.tv_nsec / 1e9;
}

struct shared {
    _Atomic long alive, forks;
};

static int take_place(struct shared *shared, long limit) {
    if (atomic_fetch_add(&shared->alive, 1) < limit) return 1;
    shared->alive--;
    return 0;
}

static void forks(double seconds, long limit) {
    struct shared *shared =
        mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (shared == MAP_FAILED) fail("mmap");
    // The orphans are ours, and nobody waits for anybody.
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    signal(SIGCHLD, SIG_IGN);
    ready();
    double end = now() + seconds;
    while (now() < end) {
        if (shared->alive > 0) {
            usleep(1000);
            continue;
        }
        shared->alive++;
        pid_t first = fork();
        if (first < 0) fail("fork");
        if (first > 0) continue;
        // Each forks for as long as there is room, and its children do the same.
        while (now() < end && take_place(shared, limit)) {
            pid_t child = fork();
            if (child > 0) shared->forks++;
            if (child < 0) {
                shared->alive--;
                break;
            }
        }
        shared->alive--;
        _exit(0);
    }
    while (wait(NULL) > 0) {}
    printf("forks %ld\n", shared->forks);
}

static void maps(long count) {
    long page = sysconf(_SC_PAGESIZE);
    char *start = mmap(NULL, count * page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (start == MAP_FAILED) fail("mmap");
    for (long i = 0; i < count; i += 2)
        if (mprotect(start + i * page, page, PROT_READ)) fail("mprotect");
    ready();
}

int main(int argc, char **argv) {
    if (argc >= 3 && !strcmp(argv[1], "sleep")) sleepers(atoi(argv[2]), argv + 3);
    else if (argc == 4 && !strcmp(argv[1], "fork")) forks(atof(argv[2]), atol(argv[3]));
    else if (argc == 3 && !strcmp(argv[1], "maps")) maps(atol(argv[2]));
    else return 2;
    return 0;
}
