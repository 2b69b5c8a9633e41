/* accept.c: what a server does in its turn while it is open: it empties the queues of its listeners, in turns and so many
   connections at once; and what it does when it lacks something for that.

   accept without a descriptor fails also when nobody is there, and takes nothing: so only the descriptor in reserve tells
   whether somebody waits.  It is used at most once per `backoff`, for all who are there.  Found nobody, the server waits for an
   announcement as always; else for the timer, or until a descriptor is freed, out of the kernel's set: so a flood of
   connections costs as many turns as there are back-offs. */
#include "net/server.h"

#include <errno.h>
#include <poll.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/text.h"
#include "sys/sockop.h"

enum {
    QUEUE_MAX = 4096, /* taken from one queue at once, so that a flood does not keep the turn */
    CALM = 10         /* back-offs without a shortage after which the next one is reported anew */
};

/* ---- Who takes connections */

typedef struct acceptance {
    np_parked p;
    neap_addr addr;
} acceptance;

static acceptance *acceptance_of(const neap_future *f) {
    return (acceptance *)(uintptr_t)np_container(f, acceptance, p.f);
}

static void destroy(np_obj *obj) {
    np_lot_fini(np_container(obj, np_parked, f.obj));
    np_obj_free(obj, sizeof(acceptance));
}

static int32_t cancel(neap_future *f, const char *msg) {
    neap_server *s = np_container(acceptance_of(f)->p.lot, neap_server, acceptors);
    np_lot_cancel(&acceptance_of(f)->p, msg);
    if (s->acceptors.len == 0)
        np_listeners_stall(s);
    return 1;
}

static void end(neap_future *f) {
    np_lot_refuse(&acceptance_of(f)->p, NEAP_ECLOSED);
}

static const char *what(const neap_future *f) {
    (void)f;
    return "a connection";
}

static void detail(const neap_future *f, char *buf, size_t cap) {
    const np_lot *lot = acceptance_of(f)->p.lot;
    char name[160] = "";
    if (lot != NULL)
        np_server_name(np_container(lot, neap_server, acceptors), name, sizeof name);
    np_text t = {.bytes = buf, .cap = cap};
    if (name[0] != '\0')
        np_text_add(&t, " on %s", name);
}

static const neap_addr *addr_of(const neap_future *f) {
    return &acceptance_of(f)->addr;
}

static const np_future_type acceptance_type = {.base = {.name = "acceptance", .destroy = destroy},
                                               .cancel = cancel,
                                               .end = end,
                                               .what = what,
                                               .detail = detail,
                                               .addr = addr_of};

static bool may_take(const neap_server *s) {
    return s->state == NEAP_SERVER_OPEN && !s->paused && (s->max == 0 || s->open < s->max);
}

static bool is_wanted(const neap_server *s) {
    return may_take(s) && (s->fn != NULL || s->acceptors.len > 0);
}

static void hand_out(neap_server *s, neap_sock *sock, const neap_addr *peer) {
    if (s->fn != NULL) {
        s->fn(s, sock, peer, s->user);
        return;
    }
    np_parked *p = np_lot_first(&s->acceptors);
    acceptance_of(&p->f)->addr = *peer;
    p->f.kind = NEAP_KIND_SOCK;
    p->f.value.sock = sock;
    np_lot_let_go(p, NULL);
}

/* ---- Taking */

/* Takes one connection out of the queue: 0, NEAP_EAGAIN if there is none, or why it stays there.  All that it needs is there
   before, so that none is lost. */
static int32_t take(neap_server *s, np_listener *l, uint32_t flags, neap_sock **ret_sock,
                    neap_addr *ret_peer) {
    neap_sock *sock = np_sock_husk(s->obj.loop, l->sock->sort);
    np_conn *c = sock == NULL ? NULL : np_conn_new(s);
    int64_t result = NEAP_ENOMEM;
    if (c != NULL) {
        np_op op = np_sockop_op(l->sock, NP_OP_ACCEPT, NP_DIR_READ, NULL, 0);
        op.addr = ret_peer;
        result = np_sockop_begin(l->sock, &op, flags);
    }
    if (result >= 0) {
        np_sock_give_conn(sock, (int)result, ret_peer);
        np_conn_add(c, sock);
        np_obj_publish(&sock->obj);
        *ret_sock = sock;
        return 0;
    }
    if (c != NULL)
        np_conn_free(c);
    if (sock != NULL)
        np_obj_unref(&sock->obj);
    return result == NP_WAIT ? NEAP_EAGAIN : (int32_t)result;
}

/* 0 if the server wants no more now, else why there is none. */
static int32_t empty_queue(neap_server *s, np_listener *l, uint32_t *left) {
    while (*left > 0 && is_wanted(s)) {
        neap_sock *sock = NULL;
        neap_addr peer = {0};
        int32_t rc = take(s, l, 0, &sock, &peer);
        if (rc < 0)
            return rc;
        (*left)--;
        hand_out(s, sock, &peer);
    }
    return 0;
}

/* ---- The last */

/* Whoever waits for a connection has it now; the user's function is called in the turn. */
static void keep(neap_server *s, neap_sock *sock, const neap_addr *peer) {
    if (s->fn == NULL) {
        hand_out(s, sock, peer);
        return;
    }
    np_conn *c = np_conn_of(sock);
    np_list_unlink(&c->link);
    np_list_append(&s->arrived, &c->link);
}

static void empty_for_good(neap_server *s, np_listener *l) {
    neap_sock *sock;
    neap_addr peer;
    uint32_t n = np_sock_is_last(l->sock) ? QUEUE_MAX : 0;
    for (; n > 0 && is_wanted(s) && take(s, l, NEAP_NOWAIT, &sock, &peer) == 0; n--)
        keep(s, sock, &peer);
}

void np_server_take_last(neap_server *s) {
    np_listeners_stall(s); /* who waits for an announcement stands before who takes */
    for (np_list *at = s->listeners.next; at != &s->listeners; at = at->next)
        empty_for_good(s, np_container(at, np_listener, link));
}

void np_server_hand_out_last(neap_server *s) {
    for (uint32_t left = s->batch; left > 0 && !np_list_empty(&s->arrived); left--) {
        np_conn *c = np_container(np_list_pop(&s->arrived), np_conn, link);
        neap_addr peer;
        np_conn_peer(c, &peer);
        np_list_append(&s->conns, &c->link);
        hand_out(s, c->sock, &peer);
    }
    if (!np_list_empty(&s->arrived))
        np_server_queue_turn(s);
}

/* ---- Shortages */

void np_server_feed(neap_server *s) {
    np_list_unlink(&s->starved);
    np_timer_stop(s->obj.loop, &s->timer);
}

void np_fd_freed(neap_loop *loop) {
    for (np_list *at = loop->starved.next; at != &loop->starved; at = at->next)
        np_server_queue_turn(np_container(at, neap_server, starved));
}

static void report_shortage(neap_server *s, int32_t code) {
    char text[512] = "";
    char name[160];
    np_text t = {.bytes = text, .cap = sizeof text};
    bool sheds =
        (code == NEAP_EMFILE || code == -ENFILE) && (s->flags & NEAP_SERVER_KEEP_QUEUED) == 0;
    np_server_name(s, name, sizeof name);
    np_text_add(&t,
                "the server on %s cannot accept: %s; %llu of its connections are open, new ones %s",
                name, neap_strerror(code), (unsigned long long)s->open,
                sheds ? "are closed at once" : "wait in the queue");
    np_report(s->obj.loop,
              (neap_report){.kind = NEAP_REPORT_SHORTAGE, .code = code, .message = text});
}

/* Closes who waits in the queue of one listener; the number. */
static uint32_t shed_queue(neap_server *s, np_listener *l) {
    np_op op = np_sockop_op(l->sock, NP_OP_ACCEPT, NP_DIR_READ, NULL, 0);
    uint32_t n = 0;
    int64_t fd;
    while (n < QUEUE_MAX && (fd = np_sockop_begin(l->sock, &op, 0)) >= 0) {
        np_fd_close((int)fd);
        n++;
    }
    s->shed += n;
    return n;
}

/* Whether nobody is left there. */
static bool shed_all(neap_server *s) {
    uint32_t n = 0;
    np_fd_close(s->spare);
    for (np_list *at = s->listeners.next; at != &s->listeners; at = at->next)
        n += shed_queue(s, np_container(at, np_listener, link));
    s->spare = np_fd_spare();
    return n == 0 && s->spare >= 0;
}

static bool is_anybody_there(const neap_server *s) {
    for (np_list *at = s->listeners.next; at != &s->listeners; at = at->next)
        if (np_fd_poll(np_container(at, np_listener, link)->sock->desc.fd, POLLIN) != 0)
            return true;
    return false;
}

static bool await_all(neap_server *s) {
    int32_t rc = 0;
    for (np_list *at = s->listeners.next; rc == 0 && at != &s->listeners; at = at->next)
        rc = np_listener_await(np_container(at, np_listener, link));
    return rc == 0;
}

static bool is_time_to_shed(const neap_server *s, int32_t code) {
    return (code == NEAP_EMFILE || code == -ENFILE) && (s->flags & NEAP_SERVER_KEEP_QUEUED) == 0 &&
           s->spare >= 0 && s->obj.loop->now - s->shed_at >= s->backoff;
}

static void run_short(neap_server *s, int32_t code) {
    neap_loop *loop = s->obj.loop;
    bool anew = s->shortages == 0 || loop->now - s->short_at > CALM * s->backoff;
    bool alone;
    s->short_at = loop->now;
    if (anew) {
        s->shortages++;
        report_shortage(s, code);
    }
    if (s->spare < 0)
        s->spare = np_fd_spare();
    if (is_time_to_shed(s, code)) {
        s->shed_at = loop->now;
        alone = shed_all(s);
    } else {
        alone = !is_anybody_there(s);
    }
    np_list_append(&loop->starved, &s->starved);
    if (alone && await_all(s))
        return;
    np_listeners_stall(s);
    if (np_timer_start(loop, &s->timer, np_time_add(loop->now, s->backoff)) < 0)
        (void)await_all(s); /* no memory for the timer: the next connection has to wake it */
}

/* ---- The turn */

static size_t count_listeners(const neap_server *s) {
    size_t n = 0;
    for (np_list *at = s->listeners.next; at != &s->listeners; at = at->next)
        n++;
    return n;
}

void np_server_look(neap_server *s) {
    uint32_t left = s->batch;
    int32_t rc = 0;
    np_server_feed(s);
    for (size_t n = count_listeners(s); n > 0 && left > 0 && is_wanted(s); n--) {
        np_list *first = s->listeners.next;
        np_listener *l = np_container(first, np_listener, link);
        np_list_unlink(first);
        np_list_append(&s->listeners, first);
        if (l->sock->closed) { /* by somebody who had it from neap_server_listener */
            np_listener_close(l);
            continue;
        }
        rc = empty_queue(s, l, &left);
        if (rc == NEAP_EAGAIN)
            rc = np_listener_await(l);
        if (rc < 0) {
            run_short(s, rc);
            return;
        }
    }
    if (s->state != NEAP_SERVER_OPEN)
        return;
    if (!is_wanted(s))
        np_listeners_stall(s);
    else if (left == 0)
        np_server_queue_turn(s);
}

/* ---- For users */

int32_t neap_server_on_connection(neap_server *server, neap_server_fn fn, void *user,
                                  neap_destroy_fn destroy_user) {
    int32_t rc = fn == NULL ? NEAP_EINVAL : np_server_enter(server);
    if (rc == 0 && (server->fn != NULL || server->acceptors.len > 0))
        rc = NEAP_EINVALID_STATE;
    if (rc < 0) {
        if (destroy_user != NULL)
            destroy_user(user);
        return rc;
    }
    server->fn = fn;
    server->user = user;
    server->destroy = destroy_user;
    np_server_queue_turn(server);
    return 0;
}

int32_t neap_server_pause(neap_server *server) {
    int32_t rc = np_server_enter(server);
    if (rc < 0)
        return rc;
    server->paused = true;
    np_server_feed(server);
    np_listeners_stall(server);
    return 0;
}

int32_t neap_server_resume(neap_server *server) {
    int32_t rc = np_server_enter(server);
    if (rc < 0)
        return rc;
    server->paused = false;
    np_server_queue_turn(server);
    return 0;
}

/* What is there now, if nobody stands before. */
static int32_t accept_now(neap_server *s, uint32_t flags, neap_sock **ret_sock,
                          neap_addr *ret_peer) {
    if (!may_take(s) || s->acceptors.len > 0)
        return NEAP_EAGAIN;
    int32_t rc = NEAP_EAGAIN;
    for (np_list *at = s->listeners.next; rc == NEAP_EAGAIN && at != &s->listeners; at = at->next)
        rc = take(s, np_container(at, np_listener, link), flags & NEAP_NOWAIT, ret_sock, ret_peer);
    return rc;
}

/* If all listeners were found empty the next announcement will do; else the server looks in its turn, because it may have to
   report what it finds. */
static int32_t wait_for_connection(neap_server *s, bool found_empty, neap_future **ret_future) {
    np_parked *p = np_lot_park(&s->acceptors, &acceptance_type, sizeof(acceptance));
    if (p == NULL)
        return NEAP_ENOMEM;
    (void)np_future_give(&p->f, ret_future);
    if (!found_empty || !await_all(s))
        np_server_queue_turn(s);
    return NEAP_PENDING;
}

int32_t neap_server_accept(neap_server *server, uint32_t flags, neap_sock **ret_sock,
                           neap_addr *ret_addr, neap_future **ret_future) {
    bool wants = (flags & NEAP_WANT_FUTURE) != 0, waits = (flags & NEAP_NOWAIT) == 0;
    bool wrong = (flags & ~(uint32_t)(NEAP_NOWAIT | NEAP_WANT_FUTURE)) != 0 ||
                 (ret_sock == NULL && !wants) || (ret_future == NULL && (waits || wants));
    int32_t rc = wrong ? NEAP_EINVAL : np_server_enter(server);
    if (rc == 0 && server->fn != NULL)
        rc = NEAP_EINVALID_STATE;
    if (rc < 0)
        return rc;
    bool first = server->acceptors.len == 0 && !wants;
    if (!wants) {
        neap_addr peer = {0};
        rc = accept_now(server, flags, ret_sock, &peer);
        if (rc == 0 && ret_addr != NULL)
            *ret_addr = peer;
        if (rc == 0 || !waits)
            return rc;
    }
    return wait_for_connection(server, first && rc == NEAP_EAGAIN && may_take(server), ret_future);
}
