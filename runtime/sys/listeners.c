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
#include <fcntl.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "base/fd.h"
#include "sys/sys.h"

enum {
    PLACES_MAX = 256 /* a filter of the kernel has 4096 instructions */
};

/* One place at one address. */
typedef struct slot {
    const neap_sock *sock; /* who has it now, or NULL */
    int fd;                /* a duplicate that stays; -1: nobody was here */
    int32_t number;        /* of the listening socket in the kernel's group; -1: none */
} slot;

typedef struct group {
    np_list link;
    neap_addr asked;  /* as bound by the program: the port may be 0 */
    neap_addr actual; /* as the kernel says */
    dev_t dev;        /* of a path */
    ino_t ino;
    int32_t listening; /* sockets in the kernel's group */
    uint8_t sort;
    bool steered; /* a filter is in place */
    bool stale;   /* its path was removed: nobody joins any more */
    slot slots[];
} group;

enum {
    FREE = 0,
    TAKEN,
    LEFT
};

struct neap_listeners {
    np_alloc *alloc;
    atomic_uint refs;
    pthread_mutex_t lock;
    np_list groups;
    int32_t count;
    uint8_t places[]; /* FREE ... */
};

static size_t size_of(int32_t places) {
    return sizeof(neap_listeners) + (size_t)places;
}

static size_t group_size(const neap_listeners *l) {
    return sizeof(group) + (size_t)l->count * sizeof(slot);
}

/* ---- Made and gone */

int32_t neap_listeners_new(const neap_allocator *allocator, int32_t places,
                           neap_listeners **ret_listeners) {
    if (ret_listeners == NULL || places < 1 || places > PLACES_MAX)
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

static void free_group(neap_listeners *l, group *g) {
    for (int32_t i = 0; i < l->count; i++)
        np_fd_close(g->slots[i].fd);
    np_list_unlink(&g->link);
    np_alloc_put(l->alloc, g, group_size(l));
}

/* Loops have references, so no socket is in use. */
void neap_listeners_unref(neap_listeners *listeners) {
    neap_listeners *l = listeners;
    if (l == NULL || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    np_alloc *alloc = l->alloc;
    while (!np_list_empty(&l->groups))
        free_group(l, np_container(l->groups.next, group, link));
    pthread_mutex_destroy(&l->lock);
    np_alloc_put(alloc, l, size_of(l->count));
    np_alloc_unref(alloc);
}

/* ---- Addresses */

static uint16_t *port_of(neap_addr *addr) {
    void *raw = addr->data;
    if (addr->family == NEAP_AF_INET)
        return &((struct sockaddr_in *)raw)->sin_port;
    return addr->family == NEAP_AF_INET6 ? &((struct sockaddr_in6 *)raw)->sin6_port : NULL;
}

static bool same_address(const neap_addr *a, const neap_addr *b) {
    return a->family == b->family && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

static bool is_stream(uint8_t sort) {
    return sort == NEAP_TCP || sort == NEAP_UNIX;
}

static bool is_local(uint8_t sort) {
    return sort == NEAP_UNIX || sort == NEAP_UNIX_DGRAM;
}

/* The file that an address names; false of other addresses, too. */
static bool find_file(const neap_addr *addr, struct stat *ret) {
    const struct sockaddr_un *un = (const void *)addr->data;
    char path[sizeof un->sun_path + 1] = {0};
    if (addr->family != NEAP_AF_UNIX || addr->len <= offsetof(struct sockaddr_un, sun_path) ||
        un->sun_path[0] == '\0')
        return false;
    memcpy(path, un->sun_path, addr->len - offsetof(struct sockaddr_un, sun_path));
    return lstat(path, ret) == 0;
}

/* Who removed the path wants to bind it anew: the socket there can no longer be reached. */
static bool has_vanished(const group *g) {
    struct stat st;
    return g->ino != 0 &&
           (!find_file(&g->actual, &st) || st.st_ino != g->ino || st.st_dev != g->dev);
}

static group *find(neap_listeners *l, uint8_t sort, const neap_addr *addr) {
    for (np_list *at = l->groups.next; at != &l->groups; at = at->next) {
        group *g = np_container(at, group, link);
        if (g->stale || g->sort != sort ||
            !(same_address(&g->asked, addr) || same_address(&g->actual, addr)))
            continue;
        g->stale = has_vanished(g);
        if (!g->stale)
            return g;
    }
    return NULL;
}

/* The first address of a chosen port that this place does not listen on yet. */
static group *find_chosen(neap_listeners *l, int32_t place, const neap_addr *asked) {
    for (np_list *at = l->groups.next; at != &l->groups; at = at->next) {
        group *g = np_container(at, group, link);
        if (g->sort == NEAP_TCP && g->slots[place].sock == NULL && same_address(&g->asked, asked))
            return g;
    }
    return NULL;
}

/* ---- Steering */

static struct sock_filter instruction(uint16_t code, uint8_t if_not, uint32_t k) {
    return (struct sock_filter){.code = code, .jf = if_not, .k = k};
}

/* A random one of the sockets that somebody listens on. */
static unsigned short write_filter(const neap_listeners *l, const group *g, int32_t served,
                                   struct sock_filter *into) {
    unsigned short n = 0;
    uint32_t seen = 0;
    into[n++] = instruction(BPF_LD | BPF_W | BPF_ABS, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
    into[n++] = instruction(BPF_ALU | BPF_MOD | BPF_K, 0, (uint32_t)served);
    for (int32_t i = 0; i < l->count; i++) {
        const slot *s = &g->slots[i];
        if (s->number < 0 || s->sock == NULL)
            continue;
        if (seen + 1 < (uint32_t)served)
            into[n++] = instruction(BPF_JMP | BPF_JEQ | BPF_K, 1, seen);
        into[n++] = instruction(BPF_RET | BPF_K, 0, (uint32_t)s->number);
        seen++;
    }
    return n;
}

/* Without a filter, or if the kernel refuses it, connections go to all sockets of the group alike. */
static void steer(const neap_listeners *l, group *g) {
    struct sock_filter code[2 + 2 * PLACES_MAX];
    struct sock_fprog program = {.filter = code};
    int32_t served = 0;
    int fd = -1, none = 0;
    for (int32_t i = 0; i < l->count; i++) {
        const slot *s = &g->slots[i];
        fd = s->number >= 0 ? s->fd : fd;
        served += s->number >= 0 && s->sock != NULL;
    }
    if (fd < 0 || g->sort != NEAP_TCP)
        return;
    if (served > 0 && served < g->listening) {
        program.len = write_filter(l, g, served, code);
        g->steered =
            setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &program, sizeof program) == 0;
    } else if (g->steered) {
        (void)setsockopt(fd, SOL_SOCKET, SO_DETACH_REUSEPORT_BPF, &none, sizeof none);
        g->steered = false;
    }
}

/* ---- Slots */

static int duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

static void take_slot(group *g, int32_t place, neap_sock *s) {
    g->slots[place].sock = s;
    s->listed = true;
    s->desc.bits |= NP_D_SHARED;
}

/* The place will not be served again: its socket goes, and with the last one the address.  Answers whether others have it. */
static bool drop_slot(neap_listeners *l, group *g, int32_t place) {
    slot *s = &g->slots[place];
    bool empty = true;
    if (s->fd >= 0 && g->sort == NEAP_TCP)
        (void)shutdown(s->fd, SHUT_RD); /* leaves the group now, whoever has duplicates */
    np_fd_close(s->fd);
    s->fd = -1;
    if (s->number >= 0) {
        g->listening--;
        for (int32_t i = 0; i < l->count; i++)
            if (g->slots[i].number == g->listening)
                g->slots[i].number = s->number;
        s->number = -1;
    }
    for (int32_t i = 0; i < l->count; i++)
        empty = empty && g->slots[i].fd < 0;
    if (empty)
        free_group(l, g);
    else
        steer(l, g);
    return !empty;
}

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

/* ---- Binding */

/* A group with the socket in it, which is bound; `copy` is its duplicate. */
static void found(neap_listeners *l, group *g, neap_sock *s, const neap_addr *asked, int copy) {
    struct stat st;
    g->asked = *asked;
    g->actual = *asked;
    g->sort = s->sort;
    (void)neap_sock_local(s, &g->actual);
    if (find_file(&g->actual, &st)) {
        g->dev = st.st_dev;
        g->ino = st.st_ino;
    }
    if (!is_local(s->sort))
        (void)np_fd_set_int(s->desc.fd, SOL_SOCKET, SO_REUSEPORT, 1);
    g->slots[s->obj.loop->place].fd = copy;
    take_slot(g, s->obj.loop->place, s);
    np_list_append(&l->groups, &g->link);
}

static group *new_group(neap_listeners *l) {
    group *g = np_alloc_get(l->alloc, group_size(l));
    if (g == NULL)
        return NULL;
    memset(g, 0, group_size(l));
    np_list_init(&g->link);
    for (int32_t i = 0; i < l->count; i++)
        g->slots[i].fd = g->slots[i].number = -1;
    return g;
}

/* The socket is the first at its address: it is bound here if `addr` is given, and is bound else. */
static int32_t begin_group(neap_listeners *l, neap_sock *s, const neap_addr *addr,
                           const neap_addr *asked) {
    int32_t rc = addr != NULL ? np_sock_open(s, addr->family) : 0;
    group *g = rc < 0 ? NULL : new_group(l);
    int copy = g == NULL ? -1 : duplicate(s->desc.fd);
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
        np_alloc_put(l->alloc, g, group_size(l));
    return rc;
}

/* Another socket of the SO_REUSEPORT group. */
static int32_t bind_sibling(neap_sock *s, const group *g) {
    int32_t rc = np_sock_open(s, g->actual.family);
    if (rc == 0)
        rc = np_fd_set_int(s->desc.fd, SOL_SOCKET, SO_REUSEPORT, 1);
    return rc < 0 ? rc : np_sock_bind(s, &g->actual);
}

/* A socket that is there: of this place from before, or any of a Unix address. */
static int existing(const neap_listeners *l, const group *g, int32_t place) {
    int fd = g->slots[place].fd;
    for (int32_t i = 0; i < l->count && fd < 0 && is_local(g->sort); i++)
        fd = g->slots[i].fd;
    return fd;
}

/* The slot gets a duplicate of the socket, unless it kept one. */
static int32_t fill_slot(slot *at, int fd) {
    int copy = at->fd >= 0 ? at->fd : duplicate(fd);
    if (copy < 0)
        return copy;
    at->fd = copy;
    return 0;
}

/* *ret_fd: what the socket is to have from now on, or -1. */
static int32_t join(const neap_listeners *l, group *g, neap_sock *s, int *ret_fd) {
    int32_t place = s->obj.loop->place;
    slot *at = &g->slots[place];
    if (at->sock != NULL)
        return NEAP_EADDRINUSE;
    int there = existing(l, g, place), fd = there < 0 ? -1 : duplicate(there);
    int32_t rc = there < 0 ? bind_sibling(s, g) : fd;
    if (rc >= 0)
        rc = fill_slot(at, there < 0 ? s->desc.fd : fd);
    if (rc < 0) {
        np_fd_close(fd);
        return rc;
    }
    *ret_fd = fd;
    take_slot(g, place, s);
    steer(l, g);
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
    neap_addr copy = *addr;
    const uint16_t *port = port_of(&copy);
    bool chosen = port != NULL && *port == 0;
    if (s->listed)
        return NEAP_EINVAL; /* as the kernel says it */
    if (chosen || is_private(s, addr)) {
        int32_t rc = np_sock_bind(s, addr);
        s->chosen = rc == 0 && chosen && s->sort == NEAP_TCP && !is_private(s, addr);
        return rc;
    }
    int fd = -1;
    pthread_mutex_lock(&l->lock);
    group *g = find(l, s->sort, addr);
    int32_t rc = g == NULL ? begin_group(l, s, addr, addr) : join(l, g, s, &fd);
    pthread_mutex_unlock(&l->lock);
    if (fd >= 0)
        exchange(s, fd);
    return rc;
}

/* ---- Listening */

/* A descriptor of the group for a socket that has another now. */
static int open_sibling(const group *g) {
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
    *port_of(&asked) = 0;
    group *g = find_chosen(l, place, &asked);
    if (g == NULL)
        return begin_group(l, s, NULL, &asked);
    int kept = g->slots[place].fd, fd = kept >= 0 ? duplicate(kept) : open_sibling(g);
    rc = fd < 0 ? fd : fill_slot(&g->slots[place], fd);
    if (rc < 0) {
        np_fd_close(fd);
        return rc;
    }
    *ret_fd = fd;
    take_slot(g, place, s);
    return 0;
}

/* Under the lock. */
static int32_t listen_at(neap_listeners *l, const neap_sock *s, int fd, int32_t backlog) {
    if (listen(fd, backlog) < 0)
        return -errno;
    for (np_list *at = l->groups.next; at != &l->groups; at = at->next) {
        group *g = np_container(at, group, link);
        slot *mine = &g->slots[s->obj.loop->place];
        if (mine->sock != s)
            continue;
        if (mine->number < 0)
            mine->number = g->listening++;
        steer(l, g);
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
        group *g = np_container(at, group, link);
        next = at->next;
        if (g->slots[place].sock != s)
            continue;
        g->slots[place].sock = NULL;
        lives_on = true;
        if (for_good || g->stale || l->places[place] == LEFT || !is_stream(g->sort))
            lives_on = drop_slot(l, g, place);
        else
            steer(l, g);
    }
    pthread_mutex_unlock(&l->lock);
    return lives_on;
}

int32_t neap_listeners_leave(neap_listeners *listeners, int32_t place) {
    neap_listeners *l = listeners;
    if (l == NULL || place < 0 || place >= l->count)
        return NEAP_EINVAL;
    pthread_mutex_lock(&l->lock);
    l->places[place] = LEFT;
    for (np_list *at = l->groups.next, *next; at != &l->groups; at = next) {
        group *g = np_container(at, group, link);
        next = at->next;
        if (g->slots[place].sock == NULL && g->slots[place].fd >= 0)
            (void)drop_slot(l, g, place);
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
    if (l->places[place] == TAKEN)
        rc = NEAP_EBUSY;
    else
        l->places[place] = TAKEN;
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
    if (l->places[loop->place] == TAKEN)
        l->places[loop->place] = FREE;
    pthread_mutex_unlock(&l->lock);
    neap_listeners_unref(l);
}
