/* areschannel.c: channels of c-ares: each keeps the settings that it was made with; when these or the resolv.conf change a new
   one is made, and the old one goes after its last answer. */
#include "sys/ares.h"

#include <string.h>
#include <sys/epoll.h>

static const char *conf_of(const np_settings *s) {
    return s->conf != NULL ? s->conf : "/etc/resolv.conf";
}

static struct stat look_at_conf(const np_settings *s) {
    struct stat st;
    if (stat(conf_of(s), &st) < 0)
        memset(&st, 0, sizeof st);
    return st;
}

static bool is_same_file(const struct stat *a, const struct stat *b) {
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Called by c-ares before it closes a descriptor, too: with neither. */
static void watch(void *data, ares_socket_t fd, int readable, int writable) {
    const np_ares_channel *c = data;
    struct epoll_event ev = {.events = (readable ? EPOLLIN : 0u) | (writable ? EPOLLOUT : 0u)};
    ev.data.fd = fd;
    if (ev.events == 0)
        (void)epoll_ctl(c->r->epoll_fd, EPOLL_CTL_DEL, fd, &ev);
    else if (epoll_ctl(c->r->epoll_fd, EPOLL_CTL_MOD, fd, &ev) < 0)
        (void)epoll_ctl(c->r->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
}

static int open_ares(np_ares_channel *c) {
    const np_settings *s = c->settings;
    struct ares_options o = {.sock_state_cb = watch, .sock_state_cb_data = c};
    int mask = ARES_OPT_SOCK_STATE_CB;
    if (s->conf != NULL) {
        o.resolvconf_path = (char *)(uintptr_t)s->conf;
        mask |= ARES_OPT_RESOLVCONF;
    }
    if (s->timeout_ns > 0) {
        int64_t ms = (s->timeout_ns + 999999) / 1000000;
        o.timeout = ms < INT32_MAX ? (int)ms : INT32_MAX;
        mask |= ARES_OPT_TIMEOUTMS;
    }
    if (s->tries > 0) {
        o.tries = (int)s->tries;
        mask |= ARES_OPT_TRIES;
    }
    int status = ares_init_options(&c->ares, &o, mask);
    if (status != ARES_SUCCESS)
        return status;
    if (s->servers != NULL)
        status = ares_set_servers_ports_csv(c->ares, s->servers);
    o.lookups = (char *)(uintptr_t) "f";
    if (status == ARES_SUCCESS)
        status = ares_init_options(&c->files, &o, mask | ARES_OPT_LOOKUPS);
    if (status != ARES_SUCCESS)
        ares_destroy(c->ares);
    return status;
}

static np_ares_channel *make_channel(np_ares *r, np_settings *s, int *ret_status) {
    np_ares_channel *c = np_alloc_get(r->alloc, sizeof *c);
    *ret_status = ARES_ENOMEM;
    if (c == NULL)
        return NULL;
    memset(c, 0, sizeof *c);
    c->r = r;
    c->settings = s;
    c->conf = look_at_conf(s);
    *ret_status = open_ares(c);
    if (*ret_status != ARES_SUCCESS) {
        np_alloc_put(r->alloc, c, sizeof *c);
        return NULL;
    }
    atomic_fetch_add_explicit(&s->refs, 1, memory_order_relaxed);
    np_list_init(&c->link);
    np_list_append(r->channels.next, &c->link);
    return c;
}

static void free_channel(np_ares_channel *c) {
    np_list_unlink(&c->link);
    np_settings_unref(c->settings);
    np_alloc_put(c->r->alloc, c, sizeof *c);
}

void np_ares_channel_end(np_ares_channel *c) {
    ares_destroy(c->files);
    ares_destroy(c->ares); /* ends what is under way */
    free_channel(c);
}

np_ares_channel *np_ares_channel_for(np_ares *r, np_settings *s, int *ret_status) {
    np_ares_channel *c = np_container(r->channels.next, np_ares_channel, link);
    if (np_list_empty(&r->channels) || c->settings != s)
        return make_channel(r, s, ret_status);
    struct stat conf = look_at_conf(s);
    return is_same_file(&conf, &c->conf) ? c : make_channel(r, s, ret_status);
}

void np_ares_end_idle(np_ares *r) {
    if (np_list_empty(&r->channels))
        return;
    for (np_list *at = r->channels.next->next, *next; at != &r->channels; at = next) {
        np_ares_channel *c = np_container(at, np_ares_channel, link);
        next = at->next;
        if (c->under_way == 0)
            np_ares_channel_end(c);
    }
}
