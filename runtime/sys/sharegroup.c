/* sharegroup.c: a group: where it is, who has its places, and to whom the kernel gives new connections. */
#include "sys/sharegroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "base/fd.h"

/* ---- Made and gone */

static size_t group_size(const neap_listeners *l) {
    return sizeof(np_share_group) + (size_t)l->count * sizeof(np_share_slot);
}

np_share_group *np_share_group_new(neap_listeners *l) {
    np_share_group *g = np_alloc_get(l->alloc, group_size(l));
    if (g == NULL)
        return NULL;
    memset(g, 0, group_size(l));
    np_list_init(&g->link);
    for (int32_t i = 0; i < l->count; i++)
        g->slots[i].fd = g->slots[i].number = -1;
    return g;
}

void np_share_group_free(neap_listeners *l, np_share_group *g) {
    for (int32_t i = 0; i < l->count; i++)
        np_fd_close(g->slots[i].fd);
    np_list_unlink(&g->link);
    np_alloc_put(l->alloc, g, group_size(l));
}

/* ---- Addresses */

static bool same_address(const neap_addr *a, const neap_addr *b) {
    return a->family == b->family && a->len == b->len && memcmp(a->data, b->data, a->len) == 0;
}

/* The file that an address names; false of other addresses, too. */
static bool find_file(const neap_addr *addr, struct stat *ret) {
    const char *path = np_addr_path(addr);
    return path != NULL && lstat(path, ret) == 0;
}

/* Who removed the path wants to bind it anew: the socket there can no longer be reached. */
static bool has_vanished(const np_share_group *g) {
    struct stat st;
    return g->ino != 0 &&
           (!find_file(&g->actual, &st) || st.st_ino != g->ino || st.st_dev != g->dev);
}

void np_share_group_name(np_share_group *g, neap_sock *s, const neap_addr *asked) {
    struct stat st;
    g->asked = *asked;
    g->actual = *asked;
    g->sort = s->sort;
    (void)neap_sock_local(s, &g->actual);
    if (find_file(&g->actual, &st)) {
        g->dev = st.st_dev;
        g->ino = st.st_ino;
    }
}

np_share_group *np_share_find(neap_listeners *l, uint8_t sort, const neap_addr *addr) {
    for (np_list *at = l->groups.next; at != &l->groups; at = at->next) {
        np_share_group *g = np_container(at, np_share_group, link);
        if (g->stale || g->sort != sort ||
            !(same_address(&g->asked, addr) || same_address(&g->actual, addr)))
            continue;
        g->stale = has_vanished(g);
        if (!g->stale)
            return g;
    }
    return NULL;
}

np_share_group *np_share_find_chosen(neap_listeners *l, int32_t place, const neap_addr *asked) {
    for (np_list *at = l->groups.next; at != &l->groups; at = at->next) {
        np_share_group *g = np_container(at, np_share_group, link);
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
static unsigned short write_filter(const neap_listeners *l, const np_share_group *g, int32_t served,
                                   struct sock_filter *into) {
    unsigned short n = 0;
    uint32_t seen = 0;
    into[n++] = instruction(BPF_LD | BPF_W | BPF_ABS, 0, (uint32_t)(SKF_AD_OFF + SKF_AD_RANDOM));
    into[n++] = instruction(BPF_ALU | BPF_MOD | BPF_K, 0, (uint32_t)served);
    for (int32_t i = 0; i < l->count; i++) {
        const np_share_slot *s = &g->slots[i];
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
void np_share_steer(const neap_listeners *l, np_share_group *g) {
    struct sock_filter code[2 + 2 * NP_PLACES_MAX];
    struct sock_fprog program = {.filter = code};
    int32_t served = 0;
    int fd = -1, none = 0;
    for (int32_t i = 0; i < l->count; i++) {
        const np_share_slot *s = &g->slots[i];
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

int np_share_duplicate(int fd) {
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    return copy < 0 ? -errno : copy;
}

void np_share_take(np_share_group *g, int32_t place, neap_sock *s) {
    g->slots[place].sock = s;
    s->listed = true;
    s->desc.bits |= NP_D_SHARED;
}

bool np_share_drop(neap_listeners *l, np_share_group *g, int32_t place) {
    np_share_slot *s = &g->slots[place];
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
        np_share_group_free(l, g);
    else
        np_share_steer(l, g);
    return !empty;
}

int32_t np_share_fill(np_share_slot *at, int fd) {
    int copy = at->fd >= 0 ? at->fd : np_share_duplicate(fd);
    if (copy < 0)
        return copy;
    at->fd = copy;
    return 0;
}
