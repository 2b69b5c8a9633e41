/* conns.c: the connections of a server: known until the socket is closed and the task that serves it has ended. */
#include "net/server.h"

#include <stdio.h>
#include <string.h>

/* Without memory for it only the kernel knew it. */
void np_conn_peer(const np_conn *c, neap_addr *ret_addr) {
    if (!np_peer_get(&c->sock->peer, ret_addr) && neap_sock_peer(c->sock, ret_addr) < 0)
        memset(ret_addr, 0, sizeof *ret_addr);
}

/* ---- In and out of the list */

static void leave(np_conn *c) {
    neap_server *s = c->server;
    np_list_unlink(&c->link);
    np_conn_free(c);
    if (s->state != NEAP_SERVER_OPEN && np_list_empty(&s->conns))
        np_server_queue_turn(s);
}

static void closed(np_sock_owner *owner) {
    np_conn *c = np_container(owner, np_conn, owner);
    neap_server *s = c->server;
    bool was_full = s->max > 0 && s->open >= s->max;
    s->open--;
    if (was_full && s->state == NEAP_SERVER_OPEN)
        np_server_queue_turn(s);
    if (c->task == NULL)
        leave(c);
}

static void report_failure(const np_conn *c) {
    neap_future *f = c->task;
    neap_addr peer;
    char text[512];
    char address[160];
    if (f->state != NEAP_STATE_ERROR || (f->flags & NP_F_IGNORED) != 0)
        return;
    np_conn_peer(c, &peer);
    neap_addr_format(&peer, address, sizeof address);
    snprintf(text, sizeof text, "the handler of the connection from %s failed: %s",
             address[0] != '\0' ? address : "a nameless peer", neap_future_message(f));
    np_report_failure(f->obj.loop, f, text);
}

static void served(np_waiter *w) {
    np_conn *c = np_container(w, np_conn, waiter);
    neap_future *task = c->task;
    neap_sock *sock = c->sock;
    report_failure(c);
    c->task = NULL;
    if (sock->closed) {
        leave(c);
    } else if (!sock->flushing) {
        np_obj_ref(&sock->obj);
        np_sock_shut(sock); /* takes it out of the list */
        np_obj_unref(&sock->obj);
    }
    np_future_unref(task);
}

np_conn *np_conn_new(neap_server *s) {
    np_conn *c = np_pool_get(&s->obj.loop->pool, sizeof *c);
    if (c == NULL)
        return NULL;
    np_list_init(&c->link);
    np_ready_init(&c->waiter.node, NP_RUN_WAITER);
    c->waiter.fire = served;
    c->owner.closed = closed;
    c->server = s;
    return c;
}

void np_conn_free(np_conn *c) {
    neap_sock *sock = c->sock;
    np_pool_put(&c->server->obj.loop->pool, c, sizeof *c);
    if (sock != NULL)
        np_obj_unref(&sock->obj);
}

void np_conn_add(np_conn *c, neap_sock *sock) {
    neap_server *s = c->server;
    np_obj_ref(&sock->obj);
    c->sock = sock;
    c->id = ++s->accepted;
    c->since = s->obj.loop->now;
    np_sock_own(sock, &c->owner);
    np_list_append(&s->conns, &c->link);
    s->open++;
}

np_conn *np_conn_of(const neap_sock *sock) {
    np_sock_owner *owner = sock->owners;
    while (owner != NULL && owner->closed != closed)
        owner = owner->next;
    return owner != NULL ? np_container(owner, np_conn, owner) : NULL;
}

void np_conn_forget(np_conn *c) {
    if (!c->sock->closed) {
        np_sock_disown(c->sock, &c->owner);
        c->server->open--;
    }
    if (c->waiter.node.where != NP_AT_NONE)
        np_dequeue(&c->waiter.node);
    if (c->task != NULL)
        np_future_unref(c->task);
    np_list_unlink(&c->link);
    np_conn_free(c);
}

/* With the last reference its socket is closed, which ends the rest. */
void np_conn_drop(np_conn *c) {
    np_obj_outer_unref(&c->sock->obj);
}

/* ---- For users */

int32_t neap_server_serve_by(neap_server *server, neap_sock *sock, neap_task *task) {
    int32_t rc =
        server == NULL || sock == NULL || task == NULL ? NEAP_EINVAL : np_enter(server->obj.loop);
    if (rc < 0)
        return rc;
    if (task->f.obj.loop != server->obj.loop || sock->obj.loop != server->obj.loop)
        return NEAP_EOTHER_LOOP;
    np_conn *c = np_conn_of(sock);
    if (c == NULL || c->server != server || c->task != NULL)
        return NEAP_EINVALID_STATE;
    c->task = &task->f;
    np_future_ref(c->task);
    if (np_future_pending(c->task))
        np_future_wait(c->task, &c->waiter.node);
    else
        np_enqueue_waiter(server->obj.loop, &c->waiter);
    return 0;
}

int32_t neap_server_walk(neap_server *server, neap_connection_fn fn, void *user) {
    int32_t rc = server == NULL || fn == NULL ? NEAP_EINVAL : np_enter(server->obj.loop);
    if (rc < 0)
        return rc;
    for (np_list *at = server->conns.next, *next; at != &server->conns; at = next) {
        const np_conn *c = np_container(at, np_conn, link);
        next = at->next;
        neap_connection told = {.size = sizeof told,
                                .id = c->id,
                                .sock = c->sock->closed ? NULL : c->sock,
                                .task = c->task != NULL ? neap_future_task(c->task) : NULL,
                                .since_ns = c->since};
        np_conn_peer(c, &told.peer);
        rc = fn(&told, user);
        if (rc != 0)
            return rc;
    }
    return 0;
}
