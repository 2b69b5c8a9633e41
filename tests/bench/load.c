/* load.c - the echo load of the bench: N connections, M bytes per message, D messages in flight
 * on each, every byte that comes back compared with the byte that went out.
 *
 *   load --port P [--conns 64] [--size 64] [--depth 1] [--idle 0] [--pid SERVER]
 *        [--warmup 0.3] [--greeting TEXT] [--churn] [--lines] (--seconds 1 | --requests N)
 *   load --port P --hold 100,10000
 *
 * The first form prints one JSON line: requests and seconds of the measured window, percentiles of
 * the latency, processor time of the server within exactly that window (read from its clock, hence
 * --pid), and how busy this process itself was: near 1.0 it, and not the server, was the limit.
 * With --requests the number of requests is exact, so that counts taken from outside (system
 * calls, instructions) can be compared between two runs.
 *
 * With --churn a request is a whole connection: opened, one message sent and echoed, closed. The
 * connections come from 200 addresses in turn, because a closed one keeps its port for a minute.
 * With --lines each message is a line: letters, and a newline as its last byte.
 * The greeting is sent once at the start of each connection and not echoed: HTTP wants a request
 * before it lets go of a socket.
 *
 * The second form opens connections in steps, lets each echo one message so that the server has
 * accepted and served it, prints "held COUNT" and waits for a line on its standard input before
 * the next step: what the server's memory grew by between two lines is the price of the idle ones.
 *
 * What a connection sends is a walk through one shared table of random bytes, so sending copies
 * nothing, and verifying is a memcmp against the table at the stream's position. */
#include "hist.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    PATTERN_PERIOD = 65521, /* prime: no message size divides it, so a shifted echo shows */
    SEND_MAX = 1 << 20,     /* the most that one send takes */
    INBOX = 256 * 1024,
    SOURCES = 200, /* addresses that --churn connects from */
    EVENTS_MAX = 512,
    STALL_S = 10, /* no byte for so long is a failed run, not a slow one */
};

static const uint64_t NS = 1000000000ull;

struct conn {
    int fd;
    size_t base;       /* where in the pattern this connection's stream begins */
    uint64_t sent;     /* stream position of the next byte to send */
    uint64_t received; /* stream position of the next byte to come */
    uint64_t unsent;   /* bytes of started messages that the kernel has not taken yet */
    size_t greeted;    /* bytes of the greeting that the kernel has taken */
    uint64_t started;  /* messages */
    uint64_t done;     /* messages */
    uint64_t *stamps;  /* start of each message in flight, by number modulo depth */
};

struct options {
    int port;
    int conns;
    int idle;
    int depth;
    size_t size;
    double warmup_s;
    double seconds;
    uint64_t requests; /* 0: bounded by seconds */
    pid_t pid;
    const char *hold;
    const char *greeting;
    size_t greeting_len;
    bool churn;
    bool lines;
};

/* Everything that is read at both ends of the measured window. */
struct snapshot {
    uint64_t now_ns;
    uint64_t requests;
    uint64_t self_cpu_ns;
    uint64_t server_cpu_ns;
    uint64_t server_user_ticks;
    uint64_t server_system_ticks;
};

static struct options opt = {
    .conns = 64, .depth = 1, .size = 64, .warmup_s = 0.3, .seconds = 1, .greeting = ""};
static unsigned char pattern[PATTERN_PERIOD + SEND_MAX];
static unsigned char inbox[INBOX];
static struct hist latency;
static struct conn *conns;
static int epoll_fd = -1;
static uint64_t requests_started; /* over all connections, for --requests */
static uint64_t requests_done;
static uint64_t bytes_verified;
static bool sending; /* false while the last messages drain */

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
    return (uint64_t)t.tv_sec * NS + (uint64_t)t.tv_nsec;
}

static uint64_t now_ns(void) {
    return clock_ns(CLOCK_MONOTONIC);
}

/* The processor clock of another process counts nanoseconds; /proc's ticks only tell how much of
 * that was spent in user space. */
static void read_server(struct snapshot *s) {
    clockid_t clock;
    if (opt.pid == 0)
        return;
    if (clock_getcpuclockid(opt.pid, &clock) != 0)
        die("no process %d to measure", (int)opt.pid);
    s->server_cpu_ns = clock_ns(clock);

    char path[64];
    char text[1024];
    snprintf(path, sizeof(path), "/proc/%d/stat", (int)opt.pid);
    FILE *f = fopen(path, "r");
    if (f == NULL)
        return;
    size_t n = fread(text, 1, sizeof(text) - 1, f);
    fclose(f);
    text[n] = '\0';
    char *after_name = strrchr(text, ')'); /* the name itself may hold blanks and brackets */
    unsigned long user = 0;
    unsigned long sys = 0;
    if (after_name != NULL)
        sscanf(after_name + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &sys);
    s->server_user_ticks = user;
    s->server_system_ticks = sys;
}

static struct snapshot take_snapshot(void) {
    struct snapshot s = {.requests = requests_done};
    read_server(&s);
    s.self_cpu_ns = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    s.now_ns = now_ns();
    return s;
}

/* The pattern repeats after so many bytes. */
static size_t period(void) {
    return opt.lines ? PATTERN_PERIOD / opt.size * opt.size : PATTERN_PERIOD;
}

static unsigned char shown(uint64_t x, size_t i) {
    unsigned char byte = (unsigned char)(x >> 32);
    if (!opt.lines)
        return byte;
    return i % opt.size == opt.size - 1 ? '\n' : (unsigned char)('a' + byte % 26);
}

static void fill_pattern(void) {
    uint64_t x = 0x9e3779b97f4a7c15ull;
    for (size_t i = 0; i < sizeof(pattern); i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        pattern[i] = i < period() ? shown(x, i) : pattern[i - period()];
    }
}

static const unsigned char *pattern_at(const struct conn *c, uint64_t position) {
    return pattern + (c->base + position) % period();
}

/* --- descriptors and connections --- */

static void raise_descriptor_limit(long needed) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("getrlimit: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("setrlimit: %s", strerror(errno));
    needed += 16;
    if (limit.rlim_max < (rlim_t)needed)
        die("descriptor limit too low: %ld needed, hard limit %ld", needed, (long)limit.rlim_max);
}

static int new_socket(int flags) {
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
    if (fd < 0)
        die("socket: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

/* A non-blocking one may still be under way: its sends give EAGAIN meanwhile. */
static void connect_socket(int fd) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (connect(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 && errno != EINPROGRESS)
        die("connect to 127.0.0.1:%d: %s", opt.port, strerror(errno));
}

static int connect_one(void) {
    int fd = new_socket(0);
    connect_socket(fd);
    return fd;
}

static void watch(struct conn *c) {
    struct epoll_event ev = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, c->fd, &ev) != 0)
        die("epoll_ctl: %s", strerror(errno));
}

/* One blocking message there and back: the server has accepted this connection and serves it. */
static void touch(int fd, struct conn *c) {
    unsigned char back[64];
    size_t want = sizeof(back);
    size_t got = 0;
    struct timeval patience = {.tv_sec = STALL_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    if (send(fd, opt.greeting, opt.greeting_len, MSG_NOSIGNAL) != (ssize_t)opt.greeting_len ||
        send(fd, pattern_at(c, 0), want, MSG_NOSIGNAL) != (ssize_t)want)
        die("send: %s", strerror(errno));
    while (got < want) {
        ssize_t n = recv(fd, back + got, want - got, 0);
        if (n <= 0)
            die("an idle connection got no echo: %s", n == 0 ? "closed" : strerror(errno));
        got += (size_t)n;
    }
    if (memcmp(back, pattern_at(c, 0), want) != 0)
        die("an idle connection got other bytes back");
}

static void open_idle(int count) {
    for (int i = 0; i < count; i++) {
        struct conn c = {.base = (size_t)i * 31};
        touch(connect_one(), &c); /* stays open until this process ends */
    }
}

static void open_active(void) {
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    conns = calloc((size_t)opt.conns, sizeof(*conns));
    uint64_t *stamps = calloc((size_t)opt.conns * (size_t)opt.depth, sizeof(*stamps));
    if (epoll_fd < 0 || conns == NULL || stamps == NULL)
        die("no memory for %d connections", opt.conns);
    for (int i = 0; i < opt.conns; i++) {
        struct conn *c = &conns[i];
        c->base = opt.lines ? (size_t)i * opt.size : (size_t)i * 977;
        c->stamps = stamps + (size_t)i * (size_t)opt.depth;
        if (opt.churn)
            continue; /* each message opens its own */
        c->fd = connect_one();
        fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) | O_NONBLOCK);
        watch(c);
    }
}

/* --- the echo --- */

/* Whether all of the greeting is sent. */
static bool greet(struct conn *c) {
    while (c->greeted < opt.greeting_len) {
        ssize_t n = send(c->fd, opt.greeting + c->greeted, opt.greeting_len - c->greeted,
                         MSG_NOSIGNAL | MSG_MORE);
        if (n < 0 && errno == EAGAIN)
            return false;
        if (n < 0 && errno != EINTR)
            die("send: %s", strerror(errno));
        c->greeted += n > 0 ? (size_t)n : 0;
    }
    return true;
}

static void flush(struct conn *c) {
    if (c->unsent > 0 && !greet(c))
        return;
    while (c->unsent > 0) {
        size_t len = c->unsent < SEND_MAX ? (size_t)c->unsent : SEND_MAX;
        ssize_t n = send(c->fd, pattern_at(c, c->sent), len, MSG_NOSIGNAL);
        if (n < 0) {
            if (errno == EAGAIN)
                return; /* edge-triggered: EPOLLOUT comes when there is room */
            if (errno == EINTR)
                continue;
            die("send: %s", strerror(errno));
        }
        c->sent += (uint64_t)n;
        c->unsent -= (uint64_t)n;
    }
}

static void start_messages(struct conn *c, uint64_t count, uint64_t now) {
    if (!sending)
        return;
    if (opt.requests != 0) {
        uint64_t left = opt.requests - requests_started;
        count = count < left ? count : left;
    }
    requests_started += count;
    for (uint64_t i = 0; i < count; i++)
        c->stamps[c->started++ % (uint64_t)opt.depth] = now;
    c->unsent += count * opt.size;
    flush(c);
}

/* The connection's next life, if there is to be one: it comes from another address. */
static void reconnect(struct conn *c) {
    static uint32_t sources;
    struct sockaddr_in source = {.sin_family = AF_INET};
    int on = 1;
    if (!sending || (opt.requests != 0 && requests_started == opt.requests))
        return;
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + 1 + sources++ % SOURCES);
    c->fd = new_socket(SOCK_NONBLOCK);
    setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
    if (bind(c->fd, (struct sockaddr *)&source, sizeof(source)) != 0)
        die("bind: %s", strerror(errno));
    connect_socket(c->fd);
    c->greeted = 0;
    watch(c);
    start_messages(c, 1, now_ns());
}

static void verify(struct conn *c, size_t len) {
    if (memcmp(inbox, pattern_at(c, c->received), len) != 0)
        die("wrong bytes came back on connection %d", (int)(c - conns));
    c->received += len;
    bytes_verified += len;
    if (c->received > c->sent)
        die("more bytes came back than were sent");
}

static void receive(struct conn *c) {
    for (;;) {
        ssize_t n = recv(c->fd, inbox, sizeof(inbox), 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n <= 0)
            die("the server closed a connection: %s", n == 0 ? "end of stream" : strerror(errno));
        verify(c, (size_t)n);
        uint64_t now = now_ns();
        uint64_t complete = c->received / opt.size - c->done;
        for (uint64_t i = 0; i < complete; i++)
            hist_add(&latency, now - c->stamps[c->done++ % (uint64_t)opt.depth]);
        requests_done += complete;
        if (opt.churn && complete > 0) {
            close(c->fd);
            reconnect(c);
            return;
        }
        start_messages(c, complete, now);
        if ((size_t)n < sizeof(inbox))
            return; /* drained: more bytes make a new edge */
    }
}

/* Runs until the deadline or until that many requests are done, whichever comes first. */
static void run_until(uint64_t deadline, uint64_t requests) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t now = now_ns();
    uint64_t last_event = now;
    while (now < deadline && requests_done < requests) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, 50);
        if (n < 0 && errno != EINTR)
            die("epoll_wait: %s", strerror(errno));
        for (int i = 0; i < n; i++) {
            struct conn *c = events[i].data.ptr;
            flush(c);
            if ((events[i].events & ~(unsigned)EPOLLOUT) != 0)
                receive(c);
        }
        now = now_ns();
        if (n > 0)
            last_event = now;
        else if (now - last_event > STALL_S * NS)
            die("stalled: %llu requests in flight",
                (unsigned long long)(requests_started - requests_done));
    }
}

static uint64_t seconds_from_now(double seconds) {
    return now_ns() + (uint64_t)(seconds * (double)NS);
}

static void print_result(const struct snapshot *a, const struct snapshot *b) {
    double seconds = (double)(b->now_ns - a->now_ns) / (double)NS;
    uint64_t requests = b->requests - a->requests;
    printf("{\"requests\": %llu, \"seconds\": %.6f, \"rps\": %.1f, \"bytes_verified\": %llu",
           (unsigned long long)requests, seconds, (double)requests / seconds,
           (unsigned long long)bytes_verified);
    printf(", \"client_busy\": %.4f",
           (double)(b->self_cpu_ns - a->self_cpu_ns) / (double)(b->now_ns - a->now_ns));
    if (opt.pid != 0)
        printf(
            ", \"server_cpu_ns\": %llu, \"server_user_ticks\": %llu, \"server_system_ticks\": %llu",
            (unsigned long long)(b->server_cpu_ns - a->server_cpu_ns),
            (unsigned long long)(b->server_user_ticks - a->server_user_ticks),
            (unsigned long long)(b->server_system_ticks - a->server_system_ticks));
    printf(", \"latency_ns\": {\"mean\": %.0f, \"p50\": %llu, \"p99\": %llu, \"p999\": %llu, "
           "\"max\": %llu}}\n",
           latency.count != 0 ? latency.sum / (double)latency.count : 0.0,
           (unsigned long long)hist_percentile(&latency, 50),
           (unsigned long long)hist_percentile(&latency, 99),
           (unsigned long long)hist_percentile(&latency, 99.9), (unsigned long long)latency.max);
}

static void run_echo(void) {
    open_idle(opt.idle);
    open_active();
    sending = true;
    struct snapshot before = {0};
    if (opt.requests != 0)
        before = take_snapshot(); /* an exact number of requests leaves none for a warm-up */
    uint64_t now = now_ns();
    for (int i = 0; i < opt.conns; i++) {
        if (opt.churn)
            reconnect(&conns[i]);
        else
            start_messages(&conns[i], (uint64_t)opt.depth, now);
    }
    if (opt.requests == 0) {
        run_until(seconds_from_now(opt.warmup_s), UINT64_MAX);
        hist_clear(&latency);
        before = take_snapshot();
    }
    run_until(seconds_from_now(opt.seconds), opt.requests != 0 ? opt.requests : UINT64_MAX);
    struct snapshot after = take_snapshot();
    if (opt.requests != 0 && requests_done < opt.requests)
        die("only %llu of %llu requests in time", (unsigned long long)requests_done,
            (unsigned long long)opt.requests);

    /* What is still in flight is verified too, outside the window. */
    struct hist measured = latency;
    sending = false;
    run_until(seconds_from_now(STALL_S), requests_started);
    if (requests_done != requests_started)
        die("%llu requests never came back",
            (unsigned long long)(requests_started - requests_done));
    latency = measured;
    print_result(&before, &after);
}

static void run_hold(void) {
    const char *p = opt.hold;
    long held = 0;
    while (*p != '\0') {
        char *end;
        long count = strtol(p, &end, 10);
        if (end == p || count <= 0)
            die("--hold wants numbers with commas between them");
        raise_descriptor_limit(held + count);
        open_idle((int)count);
        held += count;
        printf("held %ld\n", held);
        fflush(stdout);
        char line[16];
        if (fgets(line, sizeof(line), stdin) == NULL)
            return;
        p = *end == ',' ? end + 1 : end;
    }
}

static void parse_options(int argc, char **argv) {
    static const struct option known[] = {
        {"port", 1, NULL, 'p'},   {"conns", 1, NULL, 'c'},    {"size", 1, NULL, 'b'},
        {"depth", 1, NULL, 'd'},  {"idle", 1, NULL, 'i'},     {"seconds", 1, NULL, 's'},
        {"warmup", 1, NULL, 'w'}, {"requests", 1, NULL, 'n'}, {"pid", 1, NULL, 'P'},
        {"hold", 1, NULL, 'h'},   {"greeting", 1, NULL, 'g'}, {"churn", 0, NULL, 'C'},
        {"lines", 0, NULL, 'L'},  {NULL, 0, NULL, 0},
    };
    int which;
    while ((which = getopt_long(argc, argv, "", known, NULL)) != -1) {
        switch (which) {
        case 'p':
            opt.port = atoi(optarg);
            break;
        case 'c':
            opt.conns = atoi(optarg);
            break;
        case 'b':
            opt.size = strtoul(optarg, NULL, 10);
            break;
        case 'd':
            opt.depth = atoi(optarg);
            break;
        case 'i':
            opt.idle = atoi(optarg);
            break;
        case 's':
            opt.seconds = atof(optarg);
            break;
        case 'w':
            opt.warmup_s = atof(optarg);
            break;
        case 'n':
            opt.requests = strtoull(optarg, NULL, 10);
            break;
        case 'P':
            opt.pid = atoi(optarg);
            break;
        case 'h':
            opt.hold = optarg;
            break;
        case 'g':
            opt.greeting = optarg;
            opt.greeting_len = strlen(optarg);
            break;
        case 'C':
            opt.churn = true;
            break;
        case 'L':
            opt.lines = true;
            break;
        default:
            die("unknown option; the head of load.c lists them");
        }
    }
    if (opt.port <= 0 || opt.conns <= 0 || opt.depth <= 0 || opt.size == 0 || opt.idle < 0)
        die("--port, and positive numbers for the rest, please");
    if (opt.churn && opt.depth != 1)
        die("a connection of --churn carries one message");
}

int main(int argc, char **argv) {
    parse_options(argc, argv);
    fill_pattern();
    if (opt.hold != NULL) {
        run_hold();
        return 0;
    }
    raise_descriptor_limit((long)opt.conns + opt.idle);
    run_echo();
    return 0;
}
