/* listeners.c: addresses that the loops of several threads bind together.

   A program of many workers runs the same code in each, so each binds the same address.  The first one does so in the
   ordinary way, and is refused if another process has the address.  The others join it:
   - IP: each place has a socket of its own in one SO_REUSEPORT group, so the kernel spreads connections evenly and wakes one
     thread for each.  The option is set after the first bind, so no other process can slip in.  Port 0 is joined when the
     socket listens, for before nobody knows whether it will.
   - Unix: a path cannot be bound twice; all places have the same socket.

   Of each socket a duplicate is kept here, so that the queue of a worker that ended waits for the one that takes its place:
   connections in it are not lost.  As long as nobody listens at a place, new ones are steered to the others, by a filter
   that knows which sockets of the group somebody listens on.  The kernel's numbers of these are the order in which they
   began to listen; when one goes, the last takes its number.

   One mutex guards everything, and system calls on the sockets are made under it: they are few, and none blocks. */
#include "sys/listeners.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/un.h>

#include "base/fd.h"
#include "sys/sharegroup.h"
#include "sys/sys.h"

static size_t size_of(int32_t places) {
    return sizeof(neap_listeners) + (size_t)places;
}

/* ---- Made and gone */

int32_t neap_listeners_new(const neap_allocator *allocator, int32_t places,
                           neap_listeners **ret_listeners) {
    if (ret_listeners == NULL || places < 1 || places > NP_PLACES_MAX)
        return NEAP_EINVAL;
    np_alloc *alloc = np_alloc_new(allocator);
    neap_listeners *l = alloc == NULL ? NULL : np_alloc_get(alloc, size_of(places));
    if (l == NULL) {
        if (alloc != NULL)
            np_alloc_unref(alloc);
        return NEAP_ENOMEM;
    }
    memset(l, 0, size_of(places));
    l->alloc = alloc;
    l->count = places;
    atomic_init(&l->refs, 1);
    pthread_mutex_init(&l->lock, NULL);
    np_list_init(&l->groups);
    *ret_listeners = l;
    return 0;
}

neap_listeners *neap_listeners_ref(neap_listeners *listeners) {
    atomic_fetch_add_explicit(&listeners->refs, 1, memory_order_relaxed);
    return listeners;
}

/* Loops have references, so no socket is in use. */
void neap_listeners_unref(neap_listeners *listeners) {
    neap_listeners *l = listeners;
    if (l == NULL || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    np_alloc *alloc = l->alloc;
    while (!np_list_empty(&l->groups))
        np_share_group_free(l, np_container(l->groups.next, np_share_group, link));
    pthread_mutex_destroy(&l->lock);
    np_alloc_put(alloc, l, size_of(l->count));
    np_alloc_unref(alloc);
}

/* ---- Binding */

/* Gives the socket another descriptor, in the place of the one that it may have. */
static void exchange(neap_sock *s, int fd) {
    neap_loop *loop = s->obj.loop;
    int old = s->desc.fd;
    if (old >= 0) {
        loop->io.backend->detach(&loop->io, &s->desc, NEAP_ECLOSED);
        np_reap(loop);
        np_sys_close(loop, old);
    }
    np_sock_give_fd(s, fd, NP_D_SHARED);
}

/* A group with the socket in it, which is bound; `copy` is its duplicate. */
static void found(neap_listeners *l, np_share_group *g, neap_sock *s, const neap_addr *asked,
                  int copy) {
    np_share_group_name(g, s, asked);
    if (!np_sort_is_local(s->sort))
        (void)np_fd_set_int(s->desc.fd, SOL_SOCKET, SO_REUSEPORT, 1);
    g->slots[s->obj.loop->place].fd = copy;
    np_share_take(g, s->obj.loop->place, s);
    np_list_append(&l->groups, &g->link);
}

/* The socket is the first at its address: it is bound here if `addr` is given, and is bound else. */
static int32_t begin_group(neap_listeners *l, neap_sock *s, const neap_addr *addr,
                           const neap_addr *asked) {
    int32_t rc = addr != NULL ? np_sock_open(s, addr->family) : 0;
    np_share_group *g = rc < 0 ? NULL : np_share_group_new(l);
    int copy = g == NULL ? -1 : np_share_duplicate(s->desc.fd);
    if (rc == 0 && g == NULL)
        rc = NEAP_ENOMEM;
    if (rc == 0 && copy < 0)
        rc = copy;
    if (rc == 0 && addr != NULL)
        rc = np_sock_bind(s, addr);
    if (rc == 0) {
        found(l, g, s, asked, copy);
        return 0;
    }
    np_fd_close(copy);
    if (g != NULL)
        np_share_group_free(l, g);
    return rc;
}

/* Another socket of the SO_REUSEPORT group. */
static int32_t bind_sibling(neap_sock *s, const np_share_group *g) {
    int32_t rc = np_sock_open(s, g->actual.family);
    if (rc == 0)
        rc = np_fd_set_int(s->desc.fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return rc < 0 ? rc : np_sock_bind(s, &g->actual);
}

/* A socket that is there: of this place from before, or any of a Unix address. */
static int existing(const neap_listeners *l, const np_share_group *g, int32_t place) {
    int fd = g->slots[place].fd;
    for (int32_t i = 0; i < l->count && fd < 0 && np_sort_is_local(g->sort); i++)
        fd = g->slots[i].fd;
    return fd;
}

/* *ret_fd: what the socket is to have from now on, or -1. */
static int32_t join(const neap_listeners *l, np_share_group *g, neap_sock *s, int *ret_fd) {
    int32_t place = s->obj.loop->place;
    np_share_slot *at = &g->slots[place];
    if (at->sock != NULL)
        return NEAP_EADDRINUSE;
    int there = existing(l, g, place), fd = there < 0 ? -1 : np_share_duplicate(there);
    int32_t rc = there < 0 ? bind_sibling(s, g) : fd;
    if (rc >= 0)
        rc = np_share_fill(at, there < 0 ? s->desc.fd : fd);
    if (rc < 0) {
        np_fd_close(fd);
        return rc;
    }
    *ret_fd = fd;
    np_share_take(g, place, s);
    np_share_steer(l, g);
    return 0;
}

/* The program shares the port by itself, or cannot want to. */
static bool is_private(const neap_sock *s, const neap_addr *addr) {
    int shared = 0;
    if (addr->family == NEAP_AF_UNIX)
        return addr->len <= offsetof(struct sockaddr_un, sun_path);
    if (s->desc.fd >= 0)
        (void)np_fd_get_int(s->desc.fd, SOL_SOCKET, SO_REUSEPORT, &shared);
    return shared != 0;
}

int32_t np_share_bind(neap_sock *s, const neap_addr *addr) {
    neap_listeners *l = s->obj.loop->listeners;
    bool chosen = np_addr_wants_port(addr);
    if (s->listed)
        return NEAP_EINVAL; /* as the kernel says it */
    if (chosen || is_private(s, addr)) {
        int32_t rc = np_sock_bind(s, addr);
        s->chosen = rc == 0 && chosen && s->sort == NEAP_TCP && !is_private(s, addr);
        return rc;
    }
    int fd = -1;
    pthread_mutex_lock(&l->lock);
    np_share_group *g = np_share_find(l, s->sort, addr);
    int32_t rc = g == NULL ? begin_group(l, s, addr, addr) : join(l, g, s, &fd);
    pthread_mutex_unlock(&l->lock);
    if (fd >= 0)
        exchange(s, fd);
    return rc;
}

/* ---- Listening */

/* A descriptor of the group for a socket that has another now. */
static int open_sibling(const np_share_group *g) {
    int fd = socket((int)g->actual.family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return -errno;
    socklen_t len;
    const struct sockaddr *raw = np_addr_raw(&g->actual, &len);
    (void)np_fd_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    (void)np_fd_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    int rc = np_fd_set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (rc == 0 && bind(fd, raw, len) < 0)
        rc = -errno;
    if (rc == 0)
        return fd;
    np_fd_close(fd);
    return rc;
}

/* A socket whose port the kernel has chosen is to listen: on the one that others of its address have, if there are such. */
static int32_t share_chosen(neap_listeners *l, neap_sock *s, int *ret_fd) {
    int32_t place = s->obj.loop->place;
    neap_addr asked;
    int32_t rc = neap_sock_local(s, &asked);
    if (rc < 0)
        return rc;
    np_addr_set_port(&asked, 0);
    np_share_group *g = np_share_find_chosen(l, place, &asked);
    if (g == NULL)
        return begin_group(l, s, NULL, &asked);
    int kept = g->slots[place].fd, fd = kept >= 0 ? np_share_duplicate(kept) : open_sibling(g);
    rc = fd < 0 ? fd : np_share_fill(&g->slots[place], fd);
    if (rc < 0) {
        np_fd_close(fd);
        return rc;
    }
    *ret_fd = fd;
    np_share_take(g, place, s);
    return 0;
}

/* Under the lock. */
static int32_t listen_at(neap_listeners *l, const neap_sock *s, int fd, int32_t backlog) {
    if (listen(fd, backlog) < 0)
        return -errno;
    for (np_list *at = l->groups.next; at != &l->groups; at = at->next) {
        np_share_group *g = np_container(at, np_share_group, link);
        np_share_slot *mine = &g->slots[s->obj.loop->place];
        if (mine->sock != s)
            continue;
        if (mine->number < 0)
            mine->number = g->listening++;
        np_share_steer(l, g);
    }
    return 0;
}

int32_t np_share_listen(neap_sock *s, int32_t backlog) {
    neap_listeners *l = s->obj.loop->listeners;
    int fd = -1;
    int32_t rc = 0;
    pthread_mutex_lock(&l->lock);
    if (s->chosen)
        rc = share_chosen(l, s, &fd);
    if (rc == 0) {
        s->chosen = false;
        rc = listen_at(l, s, fd >= 0 ? fd : s->desc.fd, backlog);
    }
    pthread_mutex_unlock(&l->lock);
    if (fd >= 0)
        exchange(s, fd); /* the port that it had is free again */
    return rc;
}

/* ---- Leaving */

bool np_share_release(neap_sock *s, bool for_good) {
    neap_listeners *l = s->obj.loop->listeners;
    int32_t place = s->obj.loop->place;
    bool lives_on = false;
    s->listed = false;
    pthread_mutex_lock(&l->lock);
    for (np_list *at = l->groups.next, *next; at != &l->groups; at = next) {
        np_share_group *g = np_container(at, np_share_group, link);
        next = at->next;
        if (g->slots[place].sock != s)
            continue;
        g->slots[place].sock = NULL;
        lives_on = true;
        if (for_good || g->stale || l->places[place] == NP_PLACE_LEFT ||
            !np_sort_is_stream(g->sort))
            lives_on = np_share_drop(l, g, place);
        else
            np_share_steer(l, g);
    }
    pthread_mutex_unlock(&l->lock);
    return lives_on;
}

int32_t neap_listeners_leave(neap_listeners *listeners, int32_t place) {
    neap_listeners *l = listeners;
    if (l == NULL || place < 0 || place >= l->count)
        return NEAP_EINVAL;
    pthread_mutex_lock(&l->lock);
    l->places[place] = NP_PLACE_LEFT;
    for (np_list *at = l->groups.next, *next; at != &l->groups; at = next) {
        np_share_group *g = np_container(at, np_share_group, link);
        next = at->next;
        if (g->slots[place].sock == NULL && g->slots[place].fd >= 0)
            (void)np_share_drop(l, g, place);
    }
    pthread_mutex_unlock(&l->lock);
    return 0;
}

/* ---- Loops */

int32_t neap_loop_set_listeners(neap_loop *loop, neap_listeners *listeners, int32_t place) {
    neap_listeners *l = listeners;
    int32_t rc =
        loop == NULL || l == NULL || place < 0 || place >= l->count ? NEAP_EINVAL : np_enter(loop);
    if (rc == 0 && loop->listeners != NULL)
        rc = NEAP_EINVALID_STATE;
    if (rc < 0)
        return rc;
    pthread_mutex_lock(&l->lock);
    if (l->places[place] == NP_PLACE_TAKEN)
        rc = NEAP_EBUSY;
    else
        l->places[place] = NP_PLACE_TAKEN;
    pthread_mutex_unlock(&l->lock);
    if (rc < 0)
        return rc;
    np_sys_attach(loop);
    loop->listeners = neap_listeners_ref(l);
    loop->place = place;
    return 0;
}

void np_share_detach(neap_loop *loop) {
    neap_listeners *l = loop->listeners;
    if (l == NULL)
        return;
    loop->listeners = NULL;
    if (np_guard_forked(&loop->guard))
        return; /* its lock may be held by a thread that is gone */
    pthread_mutex_lock(&l->lock);
    if (l->places[loop->place] == NP_PLACE_TAKEN)
        l->places[loop->place] = NP_PLACE_FREE;
    pthread_mutex_unlock(&l->lock);
    neap_listeners_unref(l);
}
