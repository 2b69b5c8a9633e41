/* ares.c: lookups by c-ares: one thread per loop drives all of them at once.

   The loop's thread leaves queries in `queue` and writes the eventfd; everything else belongs to the thread.  c-ares tells by a
   callback which descriptors it wants watched, and these go into one epoll set.  The number of queries under way is bounded, so
   that their answers fit into the receive buffer of one socket. */
#include "sys/ares.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/fd.h"

enum {
    UNDER_WAY_MAX = 128,
    EVENTS_MAX = 32,
    CLASS_IN = 1,
    TYPE_PTR = 12
};

/* ---- Answers */

static const np_meaning meanings[] = {
    {ARES_ENODATA, NEAP_ENAME_NO_ADDRESS, "ARES_ENODATA"},
    {ARES_ENOTFOUND, NEAP_ENAME_NOT_FOUND, "ARES_ENOTFOUND"},
    {ARES_ENONAME, NEAP_ENAME_NOT_FOUND, "ARES_ENONAME"},
    {ARES_ESERVFAIL, NEAP_ENAME_TEMPORARY, "ARES_ESERVFAIL"},
    {ARES_EREFUSED, NEAP_ENAME_TEMPORARY, "ARES_EREFUSED"},
    {ARES_ENOTIMP, NEAP_ENAME_TEMPORARY, "ARES_ENOTIMP"},
    {ARES_ECONNREFUSED, NEAP_ENAME_TEMPORARY, "ARES_ECONNREFUSED"},
    {ARES_ETIMEOUT, NEAP_ENAME_TEMPORARY, "ARES_ETIMEOUT"},
    {ARES_EOF, NEAP_ENAME_TEMPORARY, "ARES_EOF"},
    {ARES_EFILE, NEAP_ENAME_TEMPORARY, "ARES_EFILE"},
    {ARES_EBADRESP, NEAP_ENAME_FAILED, "ARES_EBADRESP"},
    {ARES_EFORMERR, NEAP_ENAME_FAILED, "ARES_EFORMERR"},
    {ARES_EBADNAME, NEAP_ENAME_BAD, "ARES_EBADNAME"},
    {ARES_ESERVICE, NEAP_ESERVICE_NOT_FOUND, "ARES_ESERVICE"},
    {ARES_ENOMEM, NEAP_ENOMEM, NULL},
    {ARES_EDESTRUCTION, NEAP_ECLOSED, NULL},
};

static void fail(np_query *q, int status) {
    np_query_fail(q, status, meanings, sizeof meanings / sizeof *meanings);
}

static void answer(np_query *q) {
    np_ares_channel *c = q->engine;
    c->under_way--;
    c->r->under_way--;
    np_query_answer(q);
}

static uint32_t shortest_ttl(const struct ares_addrinfo *info) {
    int ttl = INT32_MAX;
    for (const struct ares_addrinfo_node *n = info->nodes; n != NULL; n = n->ai_next)
        ttl = n->ai_ttl < ttl ? n->ai_ttl : ttl;
    for (const struct ares_addrinfo_cname *n = info->cnames; n != NULL; n = n->next)
        ttl = n->ttl < ttl ? n->ttl : ttl;
    return ttl > 0 ? (uint32_t)ttl : 0;
}

static const char *canonical_name(const np_query *q, const struct ares_addrinfo *info) {
    const char *name = info->name;
    for (const struct ares_addrinfo_cname *n = info->cnames; n != NULL; n = n->next)
        name = n->name;
    return !q->canonical ? NULL : name != NULL ? name : q->host;
}

static void take_addresses(np_query *q, const struct ares_addrinfo *info) {
    uint32_t count = 0;
    for (const struct ares_addrinfo_node *n = info->nodes; n != NULL; n = n->ai_next)
        count++;
    if (count == 0) {
        fail(q, ARES_ENODATA);
        return;
    }
    neap_addrs *a = np_addrs_new(q->post.loop->alloc, count, canonical_name(q, info), NULL);
    q->code = a != NULL ? 0 : NEAP_ENOMEM;
    q->addrs = a;
    const struct ares_addrinfo_node *n = info->nodes;
    for (uint32_t i = 0; a != NULL && i < count; i++, n = n->ai_next) {
        np_addr_from_raw(&a->at[i], (const void *)n->ai_addr, (socklen_t)n->ai_addrlen);
        np_addr_set_port(&a->at[i], q->port);
    }
    q->ttl = shortest_ttl(info);
}

static void on_addresses(void *arg, int status, int timeouts, struct ares_addrinfo *info) {
    np_query *q = arg;
    (void)timeouts;
    if (status == ARES_SUCCESS)
        take_addresses(q, info);
    else
        fail(q, status);
    if (info != NULL)
        ares_freeaddrinfo(info);
    answer(q);
}

static void on_pointer(void *arg, int status, int timeouts, unsigned char *data, int len) {
    np_query *q = arg;
    struct hostent *host = NULL;
    (void)timeouts;
    if (status == ARES_SUCCESS)
        status = ares_parse_ptr_reply(data, len, NULL, 0, (int)q->addr.family, &host);
    if (status == ARES_SUCCESS)
        np_query_take_name(q, host->h_name);
    else
        fail(q, status == ARES_ENODATA ? ARES_ENOTFOUND : status);
    if (host != NULL)
        ares_free_hostent(host);
    answer(q);
}

/* "1.2.0.192.in-addr.arpa" */
static void write_reverse_name(const neap_addr *addr, char *buf, size_t cap) {
    const void *raw = addr->data;
    const unsigned char *b = (const void *)&((const struct sockaddr_in *)raw)->sin_addr;
    if (addr->family == NEAP_AF_INET) {
        snprintf(buf, cap, "%u.%u.%u.%u.in-addr.arpa", b[3], b[2], b[1], b[0]);
        return;
    }
    size_t n = 0;
    b = (const void *)&((const struct sockaddr_in6 *)raw)->sin6_addr;
    for (int i = 15; i >= 0; i--)
        n += (size_t)snprintf(buf + n, cap - n, "%x.%x.", b[i] & 15, b[i] >> 4);
    snprintf(buf + n, cap - n, "ip6.arpa");
}

/* What the hosts file says.  c-ares would ask the name servers itself, but not tell what these said. */
static void on_name(void *arg, int status, int timeouts, char *node, char *service) {
    np_query *q = arg;
    const np_ares_channel *c = q->engine;
    char name[80];
    (void)timeouts;
    (void)service;
    if (status == ARES_ENOTFOUND) {
        write_reverse_name(&q->addr, name, sizeof name);
        ares_query(c->ares, name, CLASS_IN, TYPE_PTR, on_pointer, q);
        return;
    }
    if (status == ARES_SUCCESS)
        np_query_take_name(q, node);
    else
        fail(q, status);
    answer(q);
}

/* ---- Questions */

static void ask_addresses(np_ares_channel *c, np_query *q) {
    const struct ares_addrinfo_hints hints = {.ai_family = (int)q->family,
                                              .ai_flags = q->canonical ? ARES_AI_CANONNAME : 0,
                                              .ai_socktype = SOCK_STREAM};
    ares_getaddrinfo(c->ares, q->host, NULL, &hints, on_addresses, q);
}

static void ask_name(np_ares_channel *c, np_query *q) {
    const int flags = ARES_NI_LOOKUPHOST | ARES_NI_NAMEREQD;
    socklen_t len;
    const struct sockaddr *raw = np_addr_raw(&q->addr, &len);
    ares_getnameinfo(c->files, raw, (ares_socklen_t)len, flags, on_name, q);
}

static void begin(np_ares *r, np_query *q) {
    int status = ARES_SUCCESS;
    np_ares_channel *c = np_query_begin(q) ? np_ares_channel_for(r, q->settings, &status) : NULL;
    if (status != ARES_SUCCESS)
        fail(q, status);
    if (c == NULL) {
        np_query_answer(q);
        return;
    }
    q->engine = c;
    c->under_way++;
    r->under_way++;
    if (q->reverse)
        ask_name(c, q);
    else
        ask_addresses(c, q);
}

/* ---- The thread */

/* The next query, or NULL; says whether it is time to stop. */
static np_query *next_query(np_ares *r, bool *ret_stopping) {
    np_query *q = NULL;
    pthread_mutex_lock(&r->lock);
    *ret_stopping = r->stopping;
    if ((r->stopping || r->under_way < UNDER_WAY_MAX) && !np_list_empty(&r->queue))
        q = np_container(np_list_pop(&r->queue), np_query, link);
    pthread_mutex_unlock(&r->lock);
    return q;
}

static bool begin_all(np_ares *r) {
    bool stopping;
    for (np_query *q; (q = next_query(r, &stopping)) != NULL;) {
        if (stopping) {
            q->code = NEAP_ECLOSED;
            np_query_answer(q);
        } else {
            begin(r, q);
        }
    }
    return !stopping;
}

/* In ms, rounded up. */
static int time_to_wait(np_ares *r) {
    struct timeval most = {.tv_sec = 3600}, buf, *least = NULL;
    for (np_list *at = r->channels.next; at != &r->channels; at = at->next) {
        least = ares_timeout(np_container(at, np_ares_channel, link)->ares,
                             least != NULL ? least : &most, &buf);
        most = *least;
        least = &most;
    }
    if (r->under_way == 0 || least == NULL)
        return -1;
    return (int)(least->tv_sec * 1000 + (least->tv_usec + 999) / 1000);
}

/* A channel looks for its own descriptors, and at its deadlines whenever it is called. */
static void process(np_ares *r, ares_socket_t readable, ares_socket_t writable) {
    for (np_list *at = r->channels.next, *next; at != &r->channels; at = next) {
        next = at->next;
        ares_process_fd(np_container(at, np_ares_channel, link)->ares, readable, writable);
    }
}

static void wait_and_process(np_ares *r) {
    struct epoll_event events[EVENTS_MAX];
    uint64_t count;
    int n = epoll_wait(r->epoll_fd, events, EVENTS_MAX, time_to_wait(r));
    for (int i = 0; i < n; i++) {
        int fd = events[i].data.fd;
        if (fd == r->wake_fd) {
            (void)!read(fd, &count, sizeof count);
            continue;
        }
        bool broken = (events[i].events & (EPOLLERR | EPOLLHUP)) != 0;
        bool readable = broken || (events[i].events & EPOLLIN) != 0;
        process(r, readable ? fd : ARES_SOCKET_BAD,
                (events[i].events & EPOLLOUT) != 0 ? fd : ARES_SOCKET_BAD);
    }
    process(r, ARES_SOCKET_BAD, ARES_SOCKET_BAD);
    np_ares_end_idle(r);
}

static void *run(void *arg) {
    np_ares *r = arg;
    (void)pthread_setname_np(pthread_self(), "neap-names");
    while (begin_all(r))
        wait_and_process(r);
    while (!np_list_empty(&r->channels))
        np_ares_channel_end(np_container(r->channels.next, np_ares_channel, link));
    return NULL;
}

/* ---- From the loop */

static void wake(np_ares *r) {
    const uint64_t one = 1;
    (void)!write(r->wake_fd, &one, sizeof one);
}

static void free_resolver(np_ares *r) {
    np_alloc *alloc = r->alloc;
    np_fd_close(r->wake_fd);
    np_fd_close(r->epoll_fd);
    np_alloc_put(alloc, r, sizeof *r);
    np_alloc_unref(alloc);
}

static int32_t open_fds(np_ares *r) {
    struct epoll_event ev = {.events = EPOLLIN};
    r->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    r->epoll_fd = r->wake_fd < 0 ? -1 : epoll_create1(EPOLL_CLOEXEC);
    ev.data.fd = r->wake_fd;
    if (r->epoll_fd < 0 || epoll_ctl(r->epoll_fd, EPOLL_CTL_ADD, r->wake_fd, &ev) < 0)
        return -errno;
    return 0;
}

/* Signals are for the threads of the program. */
static int32_t start_thread(np_ares *r) {
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->thread, NULL, run, r);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return -rc;
}

static int32_t open_resolver(neap_loop *loop, void **ret_impl) {
    np_ares *r = np_alloc_get(loop->alloc, sizeof *r);
    if (r == NULL)
        return NEAP_ENOMEM;
    memset(r, 0, sizeof *r);
    r->alloc = np_alloc_ref(loop->alloc);
    np_list_init(&r->queue);
    np_list_init(&r->channels);
    pthread_mutex_init(&r->lock, NULL);
    int32_t rc = open_fds(r);
    if (rc == 0)
        rc = start_thread(r);
    if (rc < 0) {
        pthread_mutex_destroy(&r->lock);
        free_resolver(r);
        return rc;
    }
    *ret_impl = r;
    return 0;
}

static int32_t submit(void *impl, np_query *q) {
    np_ares *r = impl;
    pthread_mutex_lock(&r->lock);
    np_list_append(&r->queue, &q->link);
    pthread_mutex_unlock(&r->lock);
    wake(r);
    return 0;
}

/* In a child after fork what c-ares has stays as the thread has left it. */
static void close_resolver(void *impl, bool forked) {
    np_ares *r = impl;
    if (!forked) {
        pthread_mutex_lock(&r->lock);
        r->stopping = true;
        pthread_mutex_unlock(&r->lock);
        wake(r);
        pthread_join(r->thread, NULL);
        pthread_mutex_destroy(&r->lock);
    }
    free_resolver(r);
}

const np_engine np_engine_ares = {.name = "c-ares",
                                  .configurable = true,
                                  .open = open_resolver,
                                  .submit = submit,
                                  .close = close_resolver};
