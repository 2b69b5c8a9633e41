/* peer.h - what the echo servers in C share: a loopback listener on a free port that is printed
 * as the first line, as the bench expects of every server. */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>

enum {
    PEER_BACKLOG = 4096,
    PEER_CHUNK = 65536
};

__attribute__((noreturn)) static inline void peer_die(const char *what) {
    perror(what);
    exit(1);
}

static inline void peer_raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static inline void peer_announce(int port) {
    printf("%d\n", port);
    fflush(stdout);
}

static inline void peer_nodelay(int fd) {
    int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* A non-blocking listener at a port that others may share, or at a free one if *port is 0. */
static inline int peer_listen_at(in_port_t *port) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons(*port)};
    socklen_t len = sizeof(addr);
    int on = 1;
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) != 0 ||
        bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, PEER_BACKLOG) != 0 ||
        getsockname(fd, (struct sockaddr *)&addr, &len) != 0)
        peer_die("listen");
    *port = ntohs(addr.sin_port);
    return fd;
}

/* A non-blocking listener; its port goes to standard output. */
static inline int peer_listen(void) {
    in_port_t port = 0;
    int fd = peer_listen_at(&port);
    peer_announce(port);
    return fd;
}

#endif
