/* sock.c: the life of a socket, its names and its options; the operations are in sockop.c. */
#include "sys/sock.h"

#include <errno.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#include "base/fd.h"
#include "sys/listeners.h"
#include "sys/sys.h"

/* ---- Made and gone */

void np_sock_own(neap_sock *s, np_sock_owner *owner) {
    owner->next = s->owners;
    s->owners = owner;
}

void np_sock_disown(neap_sock *s, np_sock_owner *owner) {
    for (np_sock_owner **at = &s->owners; *at != NULL; at = &(*at)->next) {
        if (*at == owner) {
            *at = owner->next;
            return;
        }
    }
}

static void tell_closed(neap_sock *s) {
    np_sock_owner *owner;
    while ((owner = s->owners) != NULL) {
        s->owners = owner->next;
        owner->closed(owner);
    }
}

void np_sock_shut(neap_sock *s) {
    neap_loop *loop = s->obj.loop;
    if (s->closed)
        return;
    s->closed = true;
    np_list_unlink(&s->link);
    int fd = s->desc.fd;
    if (np_guard_forked(&loop->guard))
        loop->io.abandoned = true; /* what the kernel watches is the parent's, too */
    else if (s->listed)
        (void)np_share_release(s, false);
    if (fd >= 0 && loop->io.backend != NULL) {
        np_watch_close_of(loop, &s->desc);
        loop->io.backend->detach(&loop->io, &s->desc, NEAP_ECLOSED);
        np_reap(loop);
    }
    s->desc.fd = -1;
    np_sys_close(loop, fd);
    loop->io.stirred = true;
    neap_buf_unref(s->back);
    s->back = NULL;
    tell_closed(s);
}

static void destroy(np_obj *obj) {
    neap_sock *s = np_container(obj, neap_sock, obj);
    np_sock_shut(s);
    np_peer_clear(&s->peer, &obj->loop->pool);
    np_obj_free(obj, sizeof *s);
}

/* Nobody can use it any more: what waits ends. */
static void abandoned(np_obj *obj) {
    np_sock_shut(np_container(obj, neap_sock, obj));
}

static const np_type sock_type = {.name = "socket", .destroy = destroy, .abandoned = abandoned};

neap_sock *np_sock_husk(neap_loop *loop, uint8_t sort) {
    neap_sock *s = np_obj_new(loop, &sock_type, sizeof *s);
    if (s == NULL)
        return NULL;
    np_sys_attach(loop);
    np_desc_init(&s->desc, -1, 0);
    np_list_init(&s->link);
    np_list_append(&loop->socks, &s->link);
    s->sort = sort;
    return s;
}

void np_sock_give_fd(neap_sock *s, int fd, unsigned bits) {
    if (s->sort == NEAP_TCP)
        bits |= NP_D_STREAM;
    np_desc_init(&s->desc, fd, bits);
    (void)np_io_attach(&s->obj.loop->io, &s->desc, (bits & NP_D_SHARED) == 0);
}

/* Sockets for datagrams may be connected to another one later. */
void np_sock_met(neap_sock *s, const neap_addr *peer) {
    if (np_sort_is_stream(s->sort))
        np_peer_set(&s->peer, &s->obj.loop->pool, peer);
}

void np_sock_give_conn(neap_sock *s, int fd, const neap_addr *peer) {
    np_sock_give_fd(s, fd, 0);
    np_sock_met(s, peer);
}

static int domain_of(uint8_t sort, uint32_t family) {
    if (np_sort_is_local(sort))
        return AF_UNIX;
    return family == NEAP_AF_INET6 ? AF_INET6 : AF_INET;
}

static bool fits(uint8_t sort, uint32_t family) {
    return np_sort_is_local(sort) ? family == NEAP_AF_UNIX
                                  : family == NEAP_AF_INET || family == NEAP_AF_INET6;
}

int32_t np_sock_open(neap_sock *s, uint32_t family) {
    if (!fits(s->sort, family))
        return NEAP_EVALUE;
    if (s->desc.fd >= 0)
        return 0;
    int type = np_sort_is_stream(s->sort) ? SOCK_STREAM : SOCK_DGRAM;
    int fd = socket(domain_of(s->sort, family), type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    if (s->sort == NEAP_TCP) /* accepted connections inherit it */
        (void)np_fd_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    np_sock_give_fd(s, fd, 0);
    return 0;
}

static int32_t give(neap_sock *s, neap_sock **ret) {
    np_obj_publish(&s->obj);
    *ret = s;
    return 0;
}

int32_t neap_sock_new(neap_loop *loop, int32_t sort, int32_t family, neap_sock **ret_sock) {
    int32_t rc = loop == NULL || ret_sock == NULL || sort < NEAP_TCP || sort > NEAP_UNIX_DGRAM
                     ? NEAP_EINVAL
                     : np_enter(loop);
    if (rc < 0)
        return rc;
    neap_sock *s = np_sock_husk(loop, (uint8_t)sort);
    if (s == NULL)
        return NEAP_ENOMEM;
    if (family != NEAP_AF_UNSPEC)
        rc = np_sock_open(s, (uint32_t)family);
    if (rc == 0)
        return give(s, ret_sock);
    np_obj_unref(&s->obj);
    return rc;
}

static int32_t sort_of_fd(int fd, uint8_t *ret_sort) {
    int type = 0;
    int domain = 0;
    int rc = np_fd_get_int(fd, SOL_SOCKET, SO_TYPE, &type);
    if (rc == 0)
        rc = np_fd_get_int(fd, SOL_SOCKET, SO_DOMAIN, &domain);
    if (rc < 0)
        return rc == -ENOTSOCK ? NEAP_ENOTSUP : rc;
    bool stream = type == SOCK_STREAM || type == SOCK_SEQPACKET;
    if (domain == AF_UNIX)
        *ret_sort = stream ? NEAP_UNIX : NEAP_UNIX_DGRAM;
    else
        *ret_sort = stream ? NEAP_TCP : NEAP_UDP;
    return 0;
}

int32_t neap_sock_adopt(neap_loop *loop, neap_fd fd, neap_sock **ret_sock) {
    uint8_t sort = NEAP_TCP;
    int32_t rc = loop == NULL || ret_sock == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0 && (fd < 0 || fd > INT32_MAX))
        rc = NEAP_EBADF;
    if (rc == 0)
        rc = sort_of_fd((int)fd, &sort);
    if (rc < 0)
        return rc;
    if (np_io_owner(&loop->io, (int)fd) != NULL)
        return NEAP_EBUSY_FD;
    rc = np_fd_prepare((int)fd);
    neap_sock *s = rc < 0 ? NULL : np_sock_husk(loop, sort);
    if (s == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    np_sock_give_fd(s, (int)fd, NP_D_SHARED);
    return give(s, ret_sock);
}

int32_t neap_sock_pair(neap_loop *loop, int32_t sort, neap_sock **ret_a, neap_sock **ret_b) {
    bool known = sort == NEAP_UNIX || sort == NEAP_UNIX_DGRAM;
    int32_t rc =
        loop == NULL || ret_a == NULL || ret_b == NULL || !known ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    neap_sock *a = np_sock_husk(loop, (uint8_t)sort);
    neap_sock *b = a == NULL ? NULL : np_sock_husk(loop, (uint8_t)sort);
    int fds[2];
    int type = sort == NEAP_UNIX ? SOCK_STREAM : SOCK_DGRAM;
    if (b == NULL)
        rc = NEAP_ENOMEM;
    else if (socketpair(AF_UNIX, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0)
        rc = -errno;
    if (rc < 0) {
        if (b != NULL)
            np_obj_unref(&b->obj);
        if (a != NULL)
            np_obj_unref(&a->obj);
        return rc;
    }
    np_sock_give_fd(a, fds[0], 0);
    np_sock_give_fd(b, fds[1], 0);
    give(a, ret_a);
    return give(b, ret_b);
}

neap_sock *neap_sock_ref(neap_sock *sock) {
    np_obj_outer_ref(&sock->obj);
    return sock;
}

void neap_sock_unref(neap_sock *sock) {
    if (sock != NULL)
        np_obj_outer_unref(&sock->obj);
}

/* What is closed because its loop ends may come back with the next loop of its place. */
static bool leaves_for_good(const neap_sock *s) {
    const neap_loop *loop = s->obj.loop;
    return !loop->shutting_down && atomic_load(&loop->life) == NP_OPEN;
}

bool np_sock_leave(neap_sock *s) {
    return s->listed && !np_guard_forked(&s->obj.loop->guard) &&
           np_share_release(s, leaves_for_good(s));
}

bool np_sock_is_last(const neap_sock *s) {
    return !s->listed || (s->sort == NEAP_TCP && leaves_for_good(s));
}

int32_t neap_sock_close(neap_sock *sock) {
    int32_t rc = sock == NULL ? NEAP_EINVAL : np_look(sock->obj.loop);
    if (rc < 0)
        return rc;
    np_obj_ref(&sock->obj); /* its operations may have been the last to hold it */
    (void)np_sock_leave(sock);
    np_sock_shut(sock);
    np_obj_unref(&sock->obj);
    return 0;
}

neap_fd neap_sock_fd(const neap_sock *sock) {
    int32_t rc = np_look(sock->obj.loop);
    if (rc < 0)
        return rc;
    if (sock->closed)
        return NEAP_ECLOSED;
    return sock->desc.fd >= 0 ? sock->desc.fd : NEAP_EBADF;
}

neap_loop *neap_sock_loop(const neap_sock *sock) {
    return sock->obj.loop;
}

int32_t np_sock_enter(const neap_sock *s) {
    int32_t rc = s == NULL ? NEAP_EINVAL : np_enter(s->obj.loop);
    if (rc < 0)
        return rc;
    return s->closed ? NEAP_ECLOSED : 0;
}

static int32_t enter_open(const neap_sock *s) {
    int32_t rc = np_sock_enter(s);
    return rc == 0 && s->desc.fd < 0 ? NEAP_EBADF : rc;
}

/* ---- Addresses */

int32_t np_sock_bind(neap_sock *s, const neap_addr *addr) {
    int32_t rc = np_sock_open(s, addr->family);
    if (rc < 0)
        return rc;
    if (s->sort == NEAP_TCP)
        (void)np_fd_set_int(s->desc.fd, SOL_SOCKET, SO_REUSEADDR, 1);
    socklen_t len;
    const struct sockaddr *raw = np_addr_raw(addr, &len);
    return bind(s->desc.fd, raw, len) < 0 ? -errno : 0;
}

int32_t neap_sock_bind(neap_sock *sock, const neap_addr *addr) {
    int32_t rc = addr == NULL ? NEAP_EINVAL : np_sock_enter(sock);
    if (rc < 0)
        return rc;
    return sock->obj.loop->listeners != NULL ? np_share_bind(sock, addr) : np_sock_bind(sock, addr);
}

int32_t neap_sock_listen(neap_sock *sock, int32_t backlog) {
    int32_t rc = enter_open(sock);
    if (rc < 0)
        return rc;
    if (backlog <= 0)
        backlog = SOMAXCONN;
    if (sock->obj.loop->listeners != NULL)
        return np_share_listen(sock, backlog);
    return listen(sock->desc.fd, backlog) < 0 ? -errno : 0;
}

int32_t neap_sock_shutdown(neap_sock *sock, int32_t how) {
    int32_t rc = how < NEAP_SHUT_RD || how > NEAP_SHUT_RDWR ? NEAP_EINVAL : enter_open(sock);
    if (rc < 0)
        return rc;
    sock->obj.loop->io.stirred = true;
    return shutdown(sock->desc.fd, how) < 0 ? -errno : 0;
}

int32_t neap_sock_local(neap_sock *sock, neap_addr *ret_addr) {
    struct sockaddr_storage raw;
    socklen_t len = sizeof raw;
    int32_t rc = ret_addr == NULL ? NEAP_EINVAL : enter_open(sock);
    if (rc < 0)
        return rc;
    if (getsockname(sock->desc.fd, (struct sockaddr *)&raw, &len) < 0)
        return -errno;
    np_addr_from_raw(ret_addr, &raw, len);
    return 0;
}

int32_t neap_sock_peer(neap_sock *sock, neap_addr *ret_addr) {
    struct sockaddr_storage raw;
    socklen_t len = sizeof raw;
    int32_t rc = ret_addr == NULL ? NEAP_EINVAL : enter_open(sock);
    if (rc < 0)
        return rc;
    if (getpeername(sock->desc.fd, (struct sockaddr *)&raw, &len) < 0)
        return np_peer_get(&sock->peer, ret_addr) ? 0 : -errno;
    np_addr_from_raw(ret_addr, &raw, len);
    return 0;
}

/* ---- Options */

typedef struct option {
    const char *name;
    int level;
    int number;
    bool read_only;
    int number6; /* of IPPROTO_IPV6, for sockets of that family; 0: the same for all */
} option;

static const option options[] = {
    {"reuseaddr", SOL_SOCKET, SO_REUSEADDR, false, 0},
    {"reuseport", SOL_SOCKET, SO_REUSEPORT, false, 0},
    {"keepalive", SOL_SOCKET, SO_KEEPALIVE, false, 0},
    {"sndbuf", SOL_SOCKET, SO_SNDBUF, false, 0},
    {"rcvbuf", SOL_SOCKET, SO_RCVBUF, false, 0},
    {"broadcast", SOL_SOCKET, SO_BROADCAST, false, 0},
    {"oobinline", SOL_SOCKET, SO_OOBINLINE, false, 0},
    {"priority", SOL_SOCKET, SO_PRIORITY, false, 0},
    {"linger", SOL_SOCKET, SO_LINGER, false, 0},
    {"nodelay", IPPROTO_TCP, TCP_NODELAY, false, 0},
    {"cork", IPPROTO_TCP, TCP_CORK, false, 0},
    {"keepidle", IPPROTO_TCP, TCP_KEEPIDLE, false, 0},
    {"keepintvl", IPPROTO_TCP, TCP_KEEPINTVL, false, 0},
    {"keepcnt", IPPROTO_TCP, TCP_KEEPCNT, false, 0},
    {"ttl", IPPROTO_IP, IP_TTL, false, IPV6_UNICAST_HOPS},
    {"multicast_ttl", IPPROTO_IP, IP_MULTICAST_TTL, false, IPV6_MULTICAST_HOPS},
    {"multicast_loop", IPPROTO_IP, IP_MULTICAST_LOOP, false, IPV6_MULTICAST_LOOP},
    {"passcred", SOL_SOCKET, SO_PASSCRED, false, 0},
    {"v6only", IPPROTO_IPV6, IPV6_V6ONLY, false, 0},
    {"error", SOL_SOCKET, SO_ERROR, true, 0},
    {"type", SOL_SOCKET, SO_TYPE, true, 0},
    {"drops", SOL_SOCKET, SO_MEMINFO, true, 0},
    {"peeruid", SOL_SOCKET, SO_PEERCRED, true, 0},
};

static const option *find_option(const char *name) {
    for (size_t i = 0; name != NULL && i < sizeof options / sizeof *options; i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

static int32_t set_linger(int fd, int32_t seconds) {
    struct linger l = {seconds >= 0, seconds >= 0 ? seconds : 0};
    return setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l) < 0 ? -errno : 0;
}

static int32_t get_linger(int fd, int32_t *ret_value) {
    struct linger l = {0, 0};
    socklen_t len = sizeof l;
    if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len) < 0)
        return -errno;
    *ret_value = l.l_onoff ? l.l_linger : -1;
    return 0;
}

/* The user who made the other end of a Unix stream, as the kernel has seen it. */
static int32_t get_peer_user(neap_sock *s, int32_t *ret_value) {
    neap_credentials peer;
    int32_t rc = neap_sock_peer_credentials(s, &peer, sizeof peer);
    if (rc == 0)
        *ret_value = (int32_t)peer.uid;
    return rc;
}

/* Datagrams that the queue had no room for. */
static int32_t get_drops(int fd, int32_t *ret_value) {
    uint32_t info[SK_MEMINFO_VARS] = {0};
    socklen_t len = sizeof info;
    if (getsockopt(fd, SOL_SOCKET, SO_MEMINFO, info, &len) < 0)
        return -errno;
    *ret_value = (int32_t)info[SK_MEMINFO_DROPS];
    return 0;
}

static bool is(const option *o, int number) {
    return o->level == SOL_SOCKET && o->number == number;
}

/* As it is called in the family of the socket. */
static option in_family(int fd, const option *o) {
    option out = *o;
    int domain = 0;
    if (o->number6 != 0 && np_fd_get_int(fd, SOL_SOCKET, SO_DOMAIN, &domain) == 0 &&
        domain == AF_INET6) {
        out.level = IPPROTO_IPV6;
        out.number = o->number6;
    }
    return out;
}

/* A descriptor that was put off has no options yet. */
static int32_t enter_option(neap_sock *s, const option *o) {
    int32_t rc = np_sock_enter(s);
    if (rc == 0 && o == NULL)
        rc = NEAP_EVALUE;
    if (rc == 0 && s->desc.fd < 0)
        rc = NEAP_EBADF;
    return rc;
}

int32_t neap_sock_set_option(neap_sock *sock, const char *name, int32_t value) {
    const option *o = find_option(name);
    int32_t rc = name == NULL ? NEAP_EINVAL : enter_option(sock, o);
    if (rc < 0)
        return rc;
    if (o->read_only)
        return NEAP_EVALUE;
    if (is(o, SO_LINGER))
        return set_linger(sock->desc.fd, value);
    option here = in_family(sock->desc.fd, o);
    return np_fd_set_int(sock->desc.fd, here.level, here.number, value);
}

int32_t neap_sock_get_option(neap_sock *sock, const char *name, int32_t *ret_value) {
    const option *o = find_option(name);
    int32_t rc = name == NULL || ret_value == NULL ? NEAP_EINVAL : enter_option(sock, o);
    if (rc < 0)
        return rc;
    if (is(o, SO_LINGER))
        return get_linger(sock->desc.fd, ret_value);
    if (is(o, SO_PEERCRED))
        return get_peer_user(sock, ret_value);
    if (is(o, SO_MEMINFO))
        return get_drops(sock->desc.fd, ret_value);
    option here = in_family(sock->desc.fd, o);
    return np_fd_get_int(sock->desc.fd, here.level, here.number, ret_value);
}
