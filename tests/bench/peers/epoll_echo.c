/* epoll_echo.c - the reference: what a careful engineer writes by hand for this one purpose.
 *
 * Level-triggered, one epoll_ctl per connection's life, one recv and one send per message, events
 * taken in batches. All other figures of the bench are ratios to this program. It has no timeouts,
 * no limits and no error reports, which is what makes it a floor.
 *
 * epoll_echo [THREADS]: with a number, so many loops of one thread each, which share the port. */
#include "peer.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    EVENTS_MAX = 256,
    THREADS_MAX = 64
};

/* Bytes that the kernel did not take; NULL in the table while there are none. */
struct backlog {
    size_t off;
    size_t len;
    char bytes[PEER_CHUNK];
};

static _Thread_local int epoll_fd;
static struct backlog **backlogs; /* by descriptor */
static size_t backlogs_len;

static void watch(int op, int fd, uint32_t events) {
    struct epoll_event ev = {.events = events, .data.fd = fd};
    if (epoll_ctl(epoll_fd, op, fd, &ev) != 0)
        peer_die("epoll_ctl");
}

static void drop(int fd) {
    free(backlogs[fd]);
    backlogs[fd] = NULL;
    close(fd);
}

static void keep(int fd, const char *bytes, size_t len) {
    struct backlog *b = malloc(sizeof(*b));
    if (b == NULL)
        peer_die("malloc");
    b->off = 0;
    b->len = len;
    memcpy(b->bytes, bytes, len);
    backlogs[fd] = b;
    watch(EPOLL_CTL_MOD, fd, EPOLLOUT); /* reads stop until the peer has read */
}

static void on_readable(int fd) {
    char buf[PEER_CHUNK];
    ssize_t n = recv(fd, buf, sizeof(buf), 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        drop(fd);
        return;
    }
    ssize_t sent = send(fd, buf, (size_t)n, MSG_NOSIGNAL);
    if (sent == n)
        return;
    if (sent < 0 && errno != EAGAIN) {
        drop(fd);
        return;
    }
    sent = sent < 0 ? 0 : sent;
    keep(fd, buf + sent, (size_t)(n - sent));
}

static void on_writable(int fd) {
    struct backlog *b = backlogs[fd];
    ssize_t n = send(fd, b->bytes + b->off, b->len, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0) {
        drop(fd);
        return;
    }
    b->off += (size_t)n;
    b->len -= (size_t)n;
    if (b->len > 0)
        return;
    free(b);
    backlogs[fd] = NULL;
    watch(EPOLL_CTL_MOD, fd, EPOLLIN);
}

static void on_acceptable(int listener) {
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0)
            return;
        if ((size_t)fd >= backlogs_len) {
            close(fd);
            continue;
        }
        peer_nodelay(fd);
        watch(EPOLL_CTL_ADD, fd, EPOLLIN);
    }
}

static void *serve(void *at) {
    struct epoll_event events[EVENTS_MAX];
    int listener = *(int *)at;
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0)
        peer_die("epoll_create1");
    watch(EPOLL_CTL_ADD, listener, EPOLLIN);
    for (;;) {
        int n = epoll_wait(epoll_fd, events, EVENTS_MAX, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener)
                on_acceptable(listener);
            else if (backlogs[fd] != NULL)
                on_writable(fd);
            else
                on_readable(fd);
        }
    }
}

int main(int argc, char **argv) {
    int listeners[THREADS_MAX];
    pthread_t thread;
    in_port_t port = 0;
    int threads = argc > 1 ? atoi(argv[1]) : 1;
    if (threads < 1 || threads > THREADS_MAX)
        peer_die("usage: epoll_echo [THREADS]");
    peer_raise_descriptor_limit();
    backlogs_len = (size_t)sysconf(_SC_OPEN_MAX);
    backlogs = calloc(backlogs_len, sizeof(*backlogs));
    if (backlogs == NULL)
        peer_die("start");
    for (int i = 0; i < threads; i++)
        listeners[i] = peer_listen_at(&port);
    for (int i = 1; i < threads; i++)
        if (pthread_create(&thread, NULL, serve, &listeners[i]) != 0)
            peer_die("pthread_create");
    peer_announce(port);
    serve(&listeners[0]);
}
