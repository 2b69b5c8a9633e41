/* listen.c: the sockets that a server listens on: made with all their addresses or not at all, and what becomes of files. */
#include "net/server.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fd.h"
#include "sys/sys.h"

enum {
    PORT_TRIES =
        16 /* of ports that the kernel chose for the first address and another socket has of a later one */
};

/* ---- Files of Unix sockets */

static bool socket_file(const char *path, struct stat *ret_st) {
    return lstat(path, ret_st) == 0 && S_ISSOCK(ret_st->st_mode);
}

static bool same_file(const struct stat *a, const struct stat *b) {
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* Nobody listens there: only the kernel's refusal proves it. */
static bool nobody_answers(const neap_addr *addr) {
    socklen_t len;
    const struct sockaddr *raw = np_addr_raw(addr, &len);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    bool refused = connect(fd, raw, len) < 0 && errno == ECONNREFUSED;
    np_fd_close(fd);
    return refused;
}

/* The file of a dead server goes, unless it has just become another's. */
static bool remove_dead(const neap_addr *addr) {
    const char *path = np_addr_path(addr);
    struct stat before, after;
    return path != NULL && socket_file(path, &before) && nobody_answers(addr) &&
           socket_file(path, &after) && same_file(&before, &after) && unlink(path) == 0;
}

static void note_file(np_listener *l, const char *path) {
    struct stat st;
    if (path == NULL || !socket_file(path, &st))
        return;
    l->file = true;
    l->device = st.st_dev;
    l->inode = st.st_ino;
}

static void remove_file(const np_listener *l) {
    neap_addr addr;
    struct stat st;
    const char *path = NULL;
    if (l->file && (l->server->flags & NEAP_SERVER_KEEP_PATHS) == 0 &&
        neap_sock_local(l->sock, &addr) == 0)
        path = np_addr_path(&addr);
    if (path != NULL && socket_file(path, &st) && st.st_dev == l->device && st.st_ino == l->inode)
        (void)unlink(path);
}

/* ---- One listener */

static void readable(np_op *op) {
    const np_listener *l = np_container(op, np_listener, op);
    if (op->result < 0)
        return; /* it was closed, or is to stay out of the kernel's set */
    if (l->server->fn == NULL)
        np_server_look(l->server); /* no code of users: who waits goes on in this tick */
    else
        np_server_queue_turn(l->server);
}

int32_t np_listener_add(neap_server *s, neap_sock *sock) {
    np_listener *l = np_pool_get(&s->obj.loop->pool, sizeof *l);
    if (l == NULL)
        return NEAP_ENOMEM;
    l->op = (np_op){.desc = &sock->desc, .done = readable, .kind = NP_OP_POLL, .dir = NP_DIR_READ};
    np_list_init(&l->op.link);
    l->server = s;
    l->sock = neap_sock_ref(sock);
    sock->desc.bits |= NP_D_SHARED; /* so that it can leave the kernel's set before it is closed */
    np_list_append(&s->listeners, &l->link);
    return 0;
}

static void give_up_wait(np_listener *l) {
    np_io *io = &l->sock->obj.loop->io;
    if (l->op.state != NP_OP_IDLE)
        (void)io->backend->cancel(io, &l->op);
    np_list_unlink(&l->op.link); /* it may stand on the completed list */
}

/* In the child after fork the file is the parent's. */
void np_listener_close(np_listener *l) {
    neap_loop *loop = l->sock->obj.loop;
    neap_sock *sock = l->sock;
    give_up_wait(l);
    bool shared = np_sock_leave(sock);
    if (!shared && !loop->io.abandoned && !np_guard_forked(&loop->guard))
        remove_file(l);
    np_list_unlink(&l->link);
    np_pool_put(&loop->pool, l, sizeof *l);
    np_sock_shut(sock);
    neap_sock_unref(sock);
}

void np_listeners_close(neap_server *s) {
    while (!np_list_empty(&s->listeners))
        np_listener_close(np_container(s->listeners.next, np_listener, link));
}

/* ---- In the kernel's set and out of it */

int32_t np_listener_await(np_listener *l) {
    np_io *io = &l->sock->obj.loop->io;
    bool waits = l->op.state != NP_OP_IDLE || !np_list_empty(&l->op.link);
    return waits || l->sock->closed ? 0 : io->backend->park(io, &l->op);
}

static void stall(np_listener *l) {
    np_io *io = &l->sock->obj.loop->io;
    give_up_wait(l);
    if ((l->sock->desc.bits & (NP_D_WATCHED_READ | NP_D_WATCHED_WRITE)) == 0)
        return;
    io->backend->detach(io, &l->sock->desc, NEAP_ECANCELED);
    l->sock->desc.bits |= NP_D_READ; /* who is there when it goes on is not announced */
}

void np_listeners_stall(neap_server *s) {
    for (np_list *at = s->listeners.next; at != &s->listeners; at = at->next)
        stall(np_container(at, np_listener, link));
}

/* ---- Made */

/* What is accepted inherits them. */
static int32_t set_options(neap_sock *sock, uint32_t family, uint32_t flags) {
    int fd = sock->desc.fd;
    int32_t rc = 0;
    if (family == NEAP_AF_UNIX)
        return 0;
    if (family == NEAP_AF_INET6)
        rc = np_fd_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (rc == 0 && (flags & NEAP_SERVER_REUSE_PORT) != 0)
        rc = np_fd_set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0 && (flags & NEAP_SERVER_KEEP_ALIVE) != 0)
        rc = np_fd_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    return rc;
}

static int32_t bind_and_listen(neap_sock *sock, const neap_addr *addr, uint32_t flags,
                               int32_t backlog) {
    int32_t rc = np_sock_open(sock, addr->family);
    if (rc == 0)
        rc = set_options(sock, addr->family, flags);
    if (rc == 0)
        rc = neap_sock_bind(sock, addr);
    if (rc == NEAP_EADDRINUSE && remove_dead(addr))
        rc = neap_sock_bind(sock, addr);
    return rc < 0 ? rc : neap_sock_listen(sock, backlog);
}

static int32_t open_one(neap_server *s, const neap_addr *addr, int32_t backlog) {
    uint8_t sort = addr->family == NEAP_AF_UNIX ? NEAP_UNIX : NEAP_TCP;
    neap_sock *sock = np_sock_husk(s->obj.loop, sort);
    if (sock == NULL)
        return NEAP_ENOMEM;
    np_obj_publish(&sock->obj);
    int32_t rc = bind_and_listen(sock, addr, s->flags, backlog);
    if (rc == 0)
        rc = np_listener_add(s, sock);
    if (rc == 0)
        note_file(np_container(s->listeners.prev, np_listener, link), np_addr_path(addr));
    neap_sock_unref(sock);
    return rc;
}

static int32_t port_of_newest(const neap_server *s) {
    const np_listener *l = np_container(s->listeners.prev, np_listener, link);
    neap_addr addr;
    return neap_sock_local(l->sock, &addr) < 0 ? 0 : neap_addr_port(&addr);
}

/* `*ret_shared`: the address that could not be had needed the port of another. */
static int32_t open_all(neap_server *s, const neap_addr *addrs, size_t n, int32_t backlog,
                        size_t *ret_failed, bool *ret_shared) {
    int32_t port = 0;
    for (size_t i = 0; i < n; i++) {
        neap_addr addr = addrs[i];
        bool shares = (s->flags & NEAP_SERVER_ONE_PORT) != 0 && np_addr_wants_port(&addr);
        if (shares)
            np_addr_set_port(&addr, port);
        int32_t rc = open_one(s, &addr, backlog);
        if (rc < 0) {
            *ret_failed = i;
            *ret_shared = shares && port != 0;
            return rc;
        }
        if (shares && port == 0)
            port = port_of_newest(s);
    }
    return 0;
}

int32_t np_listeners_open(neap_server *s, const neap_addr *addrs, size_t n, int32_t backlog,
                          size_t *ret_failed) {
    bool shared = false;
    int32_t rc = open_all(s, addrs, n, backlog, ret_failed, &shared);
    for (int i = 1; rc == NEAP_EADDRINUSE && shared && i < PORT_TRIES; i++) {
        np_listeners_close(s);
        rc = open_all(s, addrs, n, backlog, ret_failed, &shared);
    }
    if (rc < 0)
        np_listeners_close(s);
    return rc;
}

/* ---- Asked for */

neap_sock *neap_server_listener(neap_server *server, size_t index) {
    if (server == NULL || np_look(server->obj.loop) < 0)
        return NULL;
    for (np_list *at = server->listeners.next; at != &server->listeners; at = at->next)
        if (index-- == 0)
            return np_container(at, np_listener, link)->sock;
    return NULL;
}

/* What accept would refuse for good must not look like a shortage. */
static bool listens(const neap_sock *s) {
    int yes = 0;
    return s->desc.fd >= 0 && np_fd_get_int(s->desc.fd, SOL_SOCKET, SO_ACCEPTCONN, &yes) == 0 &&
           yes != 0;
}

int32_t neap_server_add(neap_server *server, neap_sock *listener) {
    int32_t rc = listener == NULL ? NEAP_EINVAL : np_server_enter(server);
    if (rc == 0)
        rc = np_sock_enter(listener);
    if (rc == 0 && listener->obj.loop != server->obj.loop)
        rc = NEAP_EOTHER_LOOP;
    if (rc == 0 && !listens(listener))
        rc = NEAP_EINVAL;
    if (rc == 0)
        rc = np_listener_add(server, listener);
    if (rc == 0)
        np_server_queue_turn(server);
    return rc;
}
