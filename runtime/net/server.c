/* server.c: the life of a server, its turn, and what can be asked of it. */
#include "net/server.h"

#include <string.h>

#include "base/clock.h"
#include "base/fd.h"
#include "base/options.h"
#include "core/handle.h"

enum {
    BATCH_DEFAULT = 64
};
#define BACKOFF_DEFAULT (NP_NS_PER_S / 10)

int32_t np_server_enter(const neap_server *s) {
    int32_t rc = s == NULL ? NEAP_EINVAL : np_enter(s->obj.loop);
    return rc == 0 && s->state != NEAP_SERVER_OPEN ? NEAP_ECLOSED : rc;
}

void np_server_name(const neap_server *s, char *buf, size_t cap) {
    neap_addr addr;
    *buf = '\0';
    if (np_list_empty(&s->listeners))
        return;
    const np_listener *l = np_container(s->listeners.next, np_listener, link);
    if (neap_sock_local(l->sock, &addr) == 0)
        neap_addr_format(&addr, buf, cap);
}

/* ---- The turn */

static void run_turn(void *user) {
    neap_server *s = user;
    np_obj_ref(&s->obj); /* it may end in there */
    s->turns++;
    if (s->state == NEAP_SERVER_OPEN)
        np_server_look(s);
    else if (s->state != NEAP_SERVER_CLOSED)
        np_server_go_on(s);
    np_obj_unref(&s->obj);
}

void np_server_queue_turn(neap_server *s) {
    if (s->turn != NULL && s->turn->node.where == NP_AT_NONE)
        np_enqueue(s->obj.loop, &s->turn->node);
}

static void turn_cancelled(neap_handle *h) {
    neap_server *s = np_source_call_of(h)->owner;
    np_source_call_of(h)->source = NULL;
    s->turn = NULL;
}

static void turn_done(neap_handle *h) {
    (void)h;
}

static const np_call_source turns = {turn_cancelled, NULL, turn_done};

static int32_t make_turn(neap_server *s) {
    neap_handle *h = np_handle_new(s->obj.loop, NP_CALL_WATCH);
    if (h == NULL)
        return NEAP_ENOMEM;
    np_handle_take(h, s, NULL);
    h->fn.call = run_turn;
    np_source_call_of(h)->owner = s;
    np_source_call_of(h)->source = &turns;
    s->turn = h;
    return 0;
}

static void timer_due(neap_loop *loop, np_timer *timer, bool ended) {
    (void)loop;
    if (!ended)
        np_server_queue_turn(np_container(timer, neap_server, timer));
}

static void members_gone(np_waiter *w) {
    neap_server *s = np_container(w, neap_server, waiter);
    np_future_unref(s->members);
    s->members = NULL;
    np_server_queue_turn(s);
}

/* ---- Made and gone */

static void destroy(np_obj *obj) {
    neap_server *s = np_container(obj, neap_server, obj);
    neap_scope_unref(s->scope);
    np_alloc_put_text(obj->loop->alloc, s->reason);
    np_obj_free(obj, sizeof *s);
}

static const np_type server_type = {.name = "a server", .destroy = destroy};

void np_server_finish(neap_server *s) {
    neap_loop *loop = s->obj.loop;
    neap_destroy_fn destroy_user = s->destroy;
    s->state = NEAP_SERVER_CLOSED;
    np_timer_stop(loop, &s->timer);
    np_server_feed(s);
    np_listeners_close(s);
    while (!np_list_empty(&s->arrived))
        np_conn_drop(np_container(s->arrived.next, np_conn, link));
    while (!np_list_empty(&s->conns))
        np_conn_forget(np_container(s->conns.next, np_conn, link));
    if (s->members != NULL) {
        np_dequeue(&s->waiter.node);
        np_future_unref(s->members);
    }
    s->members = NULL;
    if (s->on_shutdown != NULL)
        np_handle_cancel(s->on_shutdown);
    neap_handle_unref(s->on_shutdown);
    s->on_shutdown = NULL;
    if (s->turn != NULL)
        np_handle_cancel(s->turn);
    np_fd_close(s->spare);
    s->spare = -1;
    if (s->scope != NULL)
        s->scope->left = true; /* takes no members any more */
    s->fn = NULL;
    s->destroy = NULL;
    if (destroy_user != NULL)
        destroy_user(s->user);
    np_list_unlink(&s->link);
    np_lot_refuse_all(&s->acceptors, NEAP_ECLOSED);
    np_lot_let_all_go(&s->closers);
    np_obj_unref(&s->obj);
}

/* The loop closes: sockets and tasks are its own to end. */
static void end_all(neap_loop *loop) {
    while (!np_list_empty(&loop->servers)) {
        neap_server *s = np_container(loop->servers.next, neap_server, link);
        np_obj_ref(&s->obj);
        np_server_finish(s);
        np_obj_unref(&s->obj);
    }
}

static void shutdown_begins(void *user) {
    neap_server *s = user; /* its tasks are cancelled by the shutdown itself */
    (void)np_server_begin_end(s, NP_NEVER, NP_NEVER, NULL);
}

static void init(neap_server *s, const neap_server_options *o) {
    np_list *const lists[] = {&s->link, &s->starved, &s->listeners, &s->arrived, &s->conns};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++)
        np_list_init(lists[i]);
    np_lot_init(&s->acceptors, &s->obj);
    np_lot_init(&s->closers, &s->obj);
    np_timer_init(&s->timer, timer_due);
    np_ready_init(&s->waiter.node, NP_RUN_WAITER);
    s->waiter.fire = members_gone;
    s->max = o->max_connections;
    s->batch = o->batch > 0 ? o->batch : BATCH_DEFAULT;
    s->backoff = o->backoff_ns > 0 ? o->backoff_ns : BACKOFF_DEFAULT;
    s->flags = o->flags;
    s->paused = (o->flags & NEAP_SERVER_PAUSED) != 0;
    s->cancel_at = s->abort_at = s->cancel_grace = NP_NEVER;
    s->spare = -1;
}

/* What a server needs beside its listeners. */
static int32_t furnish(neap_server *s, neap_scope *around) {
    neap_loop *loop = s->obj.loop;
    if (around == NULL)
        around = np_scope_for_spawn(loop);
    int32_t rc = np_scope_make(loop, around, NEAP_SCOPE_GROUP, &s->scope);
    if (rc == 0)
        rc = make_turn(s);
    if (rc == 0 && (s->flags & NEAP_SERVER_NO_SHUTDOWN) == 0)
        rc = neap_loop_on_shutdown(loop, shutdown_begins, s, NULL, &s->on_shutdown);
    if (rc == 0)
        s->spare = np_fd_spare();
    return rc < 0 ? rc : s->spare < 0 ? s->spare : 0;
}

static const uint32_t known_flags =
    NEAP_SERVER_REUSE_PORT | NEAP_SERVER_ONE_PORT | NEAP_SERVER_KEEP_QUEUED |
    NEAP_SERVER_KEEP_PATHS | NEAP_SERVER_NO_SHUTDOWN | NEAP_SERVER_PAUSED | NEAP_SERVER_KEEP_ALIVE;

static int32_t check(neap_loop *loop, const neap_addr *addrs, size_t n,
                     const neap_server_options *o, neap_server **ret_server) {
    bool wrong = loop == NULL || ret_server == NULL || (addrs == NULL && n > 0) ||
                 (o->flags & ~known_flags) != 0 || o->backlog < 0 || o->backoff_ns < 0;
    int32_t rc = wrong ? NEAP_EINVAL : np_enter(loop);
    return rc == 0 && o->scope != NULL && o->scope->obj.loop != loop ? NEAP_EOTHER_LOOP : rc;
}

int32_t neap_server_new(neap_loop *loop, const neap_addr *addrs, size_t n,
                        const neap_server_options *options, neap_server **ret_server,
                        size_t *ret_failed) {
    neap_server_options o;
    size_t failed = 0;
    int32_t rc = np_options_read(&o, sizeof o, options);
    if (rc == 0)
        rc = check(loop, addrs, n, &o, ret_server);
    neap_server *s = rc < 0 ? NULL : np_obj_new(loop, &server_type, sizeof *s);
    if (s == NULL)
        return rc < 0 ? rc : NEAP_ENOMEM;
    init(s, &o);
    np_obj_ref(&s->obj); /* the loop's */
    np_list_append(&loop->servers, &s->link);
    loop->close_net = end_all;
    loop->fd_freed = np_fd_freed;
    rc = np_listeners_open(s, addrs, n, o.backlog, &failed);
    if (rc == 0)
        rc = furnish(s, o.scope);
    if (rc < 0) {
        np_server_finish(s);
        np_obj_unref(&s->obj);
        if (ret_failed != NULL)
            *ret_failed = failed;
        return rc;
    }
    np_obj_publish(&s->obj);
    *ret_server = s;
    return 0;
}

neap_server *neap_server_ref(neap_server *server) {
    np_obj_outer_ref(&server->obj);
    return server;
}

void neap_server_unref(neap_server *server) {
    if (server != NULL)
        np_obj_outer_unref(&server->obj);
}

neap_loop *neap_server_loop(const neap_server *server) {
    return server->obj.loop;
}

neap_scope *neap_server_scope(neap_server *server) {
    return np_look(server->obj.loop) < 0 ? NULL : server->scope;
}

int32_t neap_server_state(neap_server *server) {
    int32_t rc = server == NULL ? NEAP_EINVAL : np_look(server->obj.loop);
    return rc < 0 ? rc : server->state;
}

int32_t neap_server_get_metrics(neap_server *server, neap_server_metrics *out, size_t size) {
    int32_t rc = server == NULL || out == NULL ? NEAP_EINVAL : np_look(server->obj.loop);
    if (rc < 0)
        return rc;
    if (size < sizeof out->size)
        return NEAP_EINVAL;
    neap_server_metrics m = {.open = server->open,
                             .accepted = server->accepted,
                             .shed = server->shed,
                             .shortages = server->shortages,
                             .turns = server->turns};
    m.size = size < sizeof m ? size : sizeof m;
    memcpy(out, &m, m.size);
    return (int32_t)m.size;
}
