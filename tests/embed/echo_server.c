/* echo_server.c: an echo server in C on neap.  Usage: echo_server [HOST:PORT [BACKEND]]

   Prints "listening on HOST:PORT" as its first line and serves until SIGINT or SIGTERM. */
#include <neap.h>

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

typedef struct server {
    neap_loop *loop;
    neap_sock *listener;
} server;

/* One connection.  It receives into `data` and sends that back, in turn, until the end. */
typedef struct conn {
    neap_sock *sock;
    int sending;
    char data[4096];
} conn;

static void die(const char *what, int32_t code) {
    fprintf(stderr, "echo_server: %s: %s\n", what, neap_strerror(code));
    exit(1);
}

/* ---- Connections ----------------------------------------------------------------------------- */

static void conn_end(conn *c) {
    neap_sock_unref(c->sock); /* the last reference closes it */
    free(c);
}

static void conn_woken(neap_future *future, void *user);

/* Goes on with the result of the last operation: each answers at once, or by conn_woken. */
static void conn_go_on(conn *c, int64_t result) {
    neap_future *future = NULL;
    while (result > 0) {
        c->sending = !c->sending;
        result = c->sending ? neap_sock_sendall(c->sock, c->data, (size_t)result, 0, &future)
                            : neap_sock_recv(c->sock, c->data, sizeof c->data, 0, &future);
    }
    if (result == NEAP_PENDING) {
        int32_t code = neap_future_on_done(future, conn_woken, c, NULL, NULL);
        neap_future_unref(future); /* the operation keeps it until it is done */
        if (code == 0)
            return;
        neap_sock_close(c->sock); /* takes the buffer back from the operation */
    }
    conn_end(c); /* the end of the stream, or a failure */
}

static void conn_woken(neap_future *future, void *user) {
    int64_t result = neap_future_error(future);
    if (result == 0)
        neap_future_get_int(future, &result);
    conn_go_on(user, result);
}

static void conn_begin(neap_sock *sock) {
    conn *c = calloc(1, sizeof *c);
    if (c == NULL) {
        neap_sock_unref(sock);
        return;
    }
    c->sock = sock;
    c->sending = 1; /* so that a receive comes first */
    conn_go_on(c, 1);
}

/* ---- The listener ---------------------------------------------------------------------------- */

static void server_accept(void *user);

static void server_woken(neap_future *future, void *user) {
    server *s = user;
    neap_sock *sock = NULL;
    int32_t code = neap_future_take_sock(future, &sock);
    if (code == 0)
        conn_begin(sock);
    if (code == NEAP_ECLOSED)
        return; /* the loop is being closed */
    server_accept(s);
}

static void server_accept(void *user) {
    server *s = user;
    neap_sock *sock = NULL;
    neap_future *future = NULL;
    int32_t code;
    while ((code = neap_sock_accept(s->listener, 0, &sock, NULL, &future)) == 0)
        conn_begin(sock);
    if (code == NEAP_PENDING) {
        neap_future_on_done(future, server_woken, s, NULL, NULL);
        neap_future_unref(future);
    } else if (code != NEAP_ECLOSED) {
        /* No descriptors left, say: the connection stays in the queue, and we come back. */
        neap_call_later(s->loop, 10 * 1000 * 1000, server_accept, s, NULL, NULL);
    }
}

/* ---- The program ----------------------------------------------------------------------------- */

static void on_signal(int32_t signo, void *user) {
    (void)signo;
    neap_loop_stop(user);
}

static void raise_descriptor_limit(void) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

int main(int argc, char **argv) {
    neap_loop_options options = {.size = sizeof options, .backend = argc > 2 ? argv[2] : NULL};
    server s = {NULL, NULL};
    neap_addr addr;
    char text[128];
    int32_t code = neap_addr_parse(argc > 1 ? argv[1] : "127.0.0.1:9527", &addr);
    if (code < 0)
        die("address", code);
    raise_descriptor_limit();
    if ((code = neap_loop_new(&options, &s.loop)) < 0)
        die("loop", code);
    if ((code = neap_sock_new(s.loop, NEAP_TCP, NEAP_AF_UNSPEC, &s.listener)) < 0 ||
        (code = neap_sock_bind(s.listener, &addr)) < 0 ||
        (code = neap_sock_listen(s.listener, 0)) < 0 ||
        (code = neap_sock_local(s.listener, &addr)) < 0)
        die("listen", code);
    if ((code = neap_signal_watch(s.loop, SIGINT, 0, on_signal, s.loop, NULL, NULL)) < 0 ||
        (code = neap_signal_watch(s.loop, SIGTERM, 0, on_signal, s.loop, NULL, NULL)) < 0)
        die("signals", code);
    neap_addr_format(&addr, text, sizeof text);
    printf("listening on %s\n", text);
    fflush(stdout);
    server_accept(&s);
    code = neap_loop_run(s.loop);
    neap_loop_close(s.loop, 0); /* ends every connection through its callback */
    neap_sock_unref(s.listener);
    neap_loop_unref(s.loop);
    return code < 0;
}
