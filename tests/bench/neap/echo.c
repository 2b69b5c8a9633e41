/* echo.c - the echo of a user of the C interface: a task per connection, driven by a step function,
 * with receives into memory that the loop lends. The argument is the backend; else the environment's
 * NEAP_BACKEND, else the best one. */
#include "../peers/peer.h"

#include <neap.h>
#include <string.h>

struct echo {
    neap_sock *sock;
    int sending; /* what the task waits for: the rest of a send, else a receive */
    neap_buf *rest;
};

static void check(int32_t rc, const char *what) {
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, neap_strerror(rc));
        exit(1);
    }
}

/* The task keeps what it awaits; this reference has done its duty. */
static int32_t wait_for(neap_task *task, neap_future *future) {
    check(neap_task_await(task, future), "await");
    neap_future_unref(future);
    return NEAP_STEP_AWAIT;
}

/* Returns 1 when all is sent, NEAP_PENDING with a future when the rest has to wait. */
static int32_t send_back(struct echo *e, const void *data, size_t len, neap_future **future) {
    int32_t n = neap_sock_send(e->sock, data, len, NEAP_NOWAIT, NULL);
    if (n == (int32_t)len)
        return 1;
    if (n < 0 && n != NEAP_EAGAIN)
        return n;
    size_t sent = n < 0 ? 0 : (size_t)n;
    /* Lent memory ends with this step, so the rest is copied. */
    check(neap_buf_new(neap_sock_loop(e->sock), (const char *)data + sent, len - sent, &e->rest),
          "buffer");
    e->sending = 1;
    int32_t rc =
        neap_sock_sendall(e->sock, neap_buf_data(e->rest), len - sent, NEAP_WANT_FUTURE, future);
    return rc;
}

static int32_t echo_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    struct echo *e = user;
    neap_future *future = NULL;
    const void *data = NULL;
    size_t len = 0;
    int32_t rc = 1;
    if (wake == NEAP_WAKE_CANCEL)
        return NEAP_STEP_CANCELLED;
    if (awaited != NULL && e->sending) {
        rc = neap_future_error(awaited) < 0 ? 0 : 1;
        e->sending = 0;
        neap_buf_unref(e->rest);
        e->rest = NULL;
    } else if (awaited != NULL) {
        if (neap_future_get_bytes(awaited, &data, &len) < 0 || len == 0)
            return NEAP_STEP_DONE;
        rc = send_back(e, data, len, &future);
    }
    while (rc > 0) {
        rc = neap_sock_recv_lent(e->sock, PEER_CHUNK, 0, &data, &future);
        if (rc > 0)
            rc = send_back(e, data, (size_t)rc, &future);
    }
    return rc == NEAP_PENDING ? wait_for(task, future) : NEAP_STEP_DONE;
}

static void echo_destroy(void *user) {
    struct echo *e = user;
    neap_buf_unref(e->rest);
    neap_sock_unref(e->sock);
    free(e);
}

static const neap_task_ops echo_ops = {
    .size = sizeof(neap_task_ops), .step = echo_step, .destroy = echo_destroy};

static void serve(neap_sock *sock) {
    struct echo *e = calloc(1, sizeof(*e));
    if (e == NULL)
        peer_die("calloc");
    e->sock = sock;
    check(neap_task_spawn(neap_sock_loop(sock), &echo_ops, e, NULL, NULL), "spawn");
}

static int32_t accept_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    neap_sock *listener = user;
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    int32_t rc;
    if (wake == NEAP_WAKE_CANCEL)
        return NEAP_STEP_CANCELLED;
    if (awaited != NULL) {
        check(neap_future_take_sock(awaited, &sock), "accept");
        serve(sock);
    }
    while ((rc = neap_sock_accept(listener, 0, &sock, NULL, &future)) == 0)
        serve(sock);
    if (rc != NEAP_PENDING)
        check(rc, "accept");
    return wait_for(task, future);
}

static const neap_task_ops accept_ops = {.size = sizeof(neap_task_ops), .step = accept_step};

int main(int argc, char **argv) {
    neap_loop *loop;
    neap_sock *listener;
    neap_addr addr;
    const char *backend = argc > 1 ? argv[1] : getenv("NEAP_BACKEND");
    neap_loop_options options = {.size = sizeof(options), .backend = backend};
    peer_raise_descriptor_limit();
    check(neap_loop_new(&options, &loop), "loop");
    check(neap_sock_new(loop, NEAP_TCP, NEAP_AF_UNSPEC, &listener), "socket");
    check(neap_addr_parse("127.0.0.1:0", &addr), "address");
    check(neap_sock_bind(listener, &addr), "bind");
    check(neap_sock_listen(listener, PEER_BACKLOG), "listen");
    check(neap_sock_local(listener, &addr), "name");
    check(neap_task_spawn(loop, &accept_ops, listener, NULL, NULL), "spawn");
    peer_announce(neap_addr_port(&addr));
    check(neap_loop_run(loop), "run");
    return 0;
}
