/* The chat load: many clients in one room, of whom one talks. Verifies that each of the others gets each line, and reads the server's
 * processor clock at both ends of the talk.
 *
 * usage: chat_load --port PORT --pid PID [--clients N] [--lines N] [--size BYTES] [--depth LINES] */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    CLIENTS_MAX = 20000,
    QUIET_MS = 300, /* so long nothing comes before the talk begins */
    STALL_MS = 20000
};

static struct {
    int port, pid, clients, lines, size, depth;
} opt = {.clients = 1000, .lines = 500, .size = 64, .depth = 4};

static int fds[CLIENTS_MAX];
static int epoll_fd;
static uint64_t lines_seen; /* by all but the talker */

__attribute__((noreturn, format(printf, 1, 2))) static void die(const char *format, ...) {
    va_list args;
    va_start(args, format);
    fputs("{\"error\": \"", stdout);
    vprintf(format, args);
    puts("\"}");
    va_end(args);
    exit(1);
}

static uint64_t clock_ns(clockid_t clock) {
    struct timespec t;
    if (clock_gettime(clock, &t) != 0)
        return 0;
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static uint64_t server_ns(void) {
    clockid_t clock;
    if (clock_getcpuclockid(opt.pid, &clock) != 0)
        die("no process %d to measure", opt.pid);
    return clock_ns(clock);
}

static void join(int i) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    struct epoll_event ev = {.events = EPOLLIN, .data.u32 = (uint32_t)i};
    int one = 1;
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fds[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fds[i] < 0 || connect(fds[i], (struct sockaddr *)&to, sizeof to) < 0)
        die("client %d: %s", i, strerror(errno));
    setsockopt(fds[i], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fds[i], &ev) < 0)
        die("epoll: %s", strerror(errno));
}

/* Counts the lines that one client was sent. */
static void listen_to(uint32_t i) {
    static char buf[65536];
    ssize_t n = recv(fds[i], buf, sizeof buf, MSG_DONTWAIT);
    if (n == 0 || (n < 0 && errno != EAGAIN))
        die("client %u was dropped", (unsigned)i);
    for (const char *at = buf; n > 0 && (at = memchr(at, '\n', (size_t)(buf + n - at))) != NULL;
         at++)
        lines_seen += i != 0;
}

/* 0 if nothing has come for that long. */
static int turn(int timeout_ms) {
    struct epoll_event events[256];
    int n = epoll_wait(epoll_fd, events, 256, timeout_ms);
    for (int k = 0; k < n; k++)
        listen_to(events[k].data.u32);
    return n;
}

static void talk(void) {
    char *line = malloc((size_t)opt.size);
    uint64_t others = (uint64_t)opt.clients - 1;
    if (line == NULL)
        die("no memory");
    memset(line, 'x', (size_t)opt.size);
    line[opt.size - 1] = '\n';
    lines_seen = 0;
    for (int said = 0; said < opt.lines || lines_seen < (uint64_t)opt.lines * others;) {
        while (said < opt.lines &&
               lines_seen + (uint64_t)opt.depth * others > (uint64_t)said * others) {
            if (send(fds[0], line, (size_t)opt.size, MSG_NOSIGNAL) != opt.size)
                die("the talker: %s", strerror(errno));
            said++;
        }
        if (turn(STALL_MS) <= 0)
            die("%llu of %llu lines came", (unsigned long long)lines_seen,
                (unsigned long long)((uint64_t)opt.lines * others));
    }
    free(line);
}

static void read_options(int argc, char **argv) {
    static const struct option names[] = {
        {"port", 1, NULL, 'p'},  {"pid", 1, NULL, 'i'},  {"clients", 1, NULL, 'c'},
        {"lines", 1, NULL, 'l'}, {"size", 1, NULL, 's'}, {"depth", 1, NULL, 'd'},
        {NULL, 0, NULL, 0},
    };
    int c;
    while ((c = getopt_long(argc, argv, "", names, NULL)) != -1) {
        int n = optarg != NULL ? atoi(optarg) : 0;
        int *to = c == 'p'   ? &opt.port
                  : c == 'i' ? &opt.pid
                  : c == 'c' ? &opt.clients
                  : c == 'l' ? &opt.lines
                  : c == 's' ? &opt.size
                  : c == 'd' ? &opt.depth
                             : NULL;
        if (to == NULL || n <= 0)
            die("usage: see the source");
        *to = n;
    }
    if (opt.port == 0 || opt.pid == 0 || opt.clients < 2 || opt.clients > CLIENTS_MAX)
        die("usage: see the source");
}

int main(int argc, char **argv) {
    read_options(argc, argv);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < opt.clients; i++) {
        join(i);
        while (turn(0) > 0)
            continue;
    }
    while (turn(QUIET_MS) > 0)
        continue;
    uint64_t cpu = server_ns(), begun = clock_ns(CLOCK_MONOTONIC);
    talk();
    cpu = server_ns() - cpu;
    begun = clock_ns(CLOCK_MONOTONIC) - begun;
    printf("{\"deliveries\": %llu, \"ns\": %llu, \"server_cpu_ns\": %llu}\n",
           (unsigned long long)lines_seen, (unsigned long long)begun, (unsigned long long)cpu);
    return 0;
}
