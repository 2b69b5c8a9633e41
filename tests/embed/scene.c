#include "scene.h"

#include <stdlib.h>
#include <string.h>

/* ---- The end --------------------------------------------------------------------------------- */

static void look(scene *s) {
    if (s->done || s->timers < SCENE_TIMERS || s->rounds < SCENE_ROUNDS || s->posts < SCENE_POSTS)
        return;
    s->done = 1;
    if (s->finished != NULL)
        s->finished(s->host);
}

/* ---- Timers ---------------------------------------------------------------------------------- */

static void on_timer(void *user) {
    scene *s = user;
    s->timers++;
    look(s);
}

static void on_repeat(void *user) {
    scene *s = user;
    s->ticks++;
}

/* ---- The exchange: "ping" by the client, echoed by the server -------------------------------- */

static void client_send(scene *s);
static void server_recv(scene *s);

static void on_client_bytes(neap_future *future, void *user) {
    scene *s = user;
    assert_int_equal(nt_int(future), 4);
    assert_memory_equal(s->buf[0], "ping", 4);
    if (++s->rounds < SCENE_ROUNDS)
        client_send(s);
    look(s);
}

static void client_send(scene *s) {
    neap_future *future = NULL;
    assert_int_equal(neap_sock_send(s->client, "ping", 4, 0, &future), 4);
    assert_code(neap_sock_recv(s->client, s->buf[0], 4, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    assert_ok(neap_future_on_done(future, on_client_bytes, s, NULL, NULL));
    neap_future_unref(future);
}

static void on_server_bytes(neap_future *future, void *user) {
    scene *s = user;
    neap_future *none = NULL;
    if (neap_future_error(future) != 0)
        return; /* the scene ends */
    int32_t n = (int32_t)nt_int(future);
    if (n == 0)
        return;
    assert_int_equal(neap_sock_sendall(s->server, s->buf[1], (size_t)n, 0, &none), n);
    server_recv(s);
}

static void server_recv(scene *s) {
    neap_future *future = NULL;
    assert_code(neap_sock_recv(s->server, s->buf[1], sizeof s->buf[1], NEAP_WANT_FUTURE, &future),
                NEAP_PENDING);
    assert_ok(neap_future_on_done(future, on_server_bytes, s, NULL, NULL));
    neap_future_unref(future);
}

static void on_accepted(neap_future *future, void *user) {
    scene *s = user;
    assert_ok(neap_future_take_sock(future, &s->server));
    server_recv(s);
}

static void on_connected(neap_future *future, void *user) {
    assert_code(neap_future_error(future), 0);
    client_send(user);
}

static void begin_exchange(scene *s) {
    neap_addr addr = {0};
    neap_sock *none = NULL;
    neap_future *future = NULL;
    assert_ok(neap_addr_parse("127.0.0.1:0", &addr));
    assert_ok(neap_sock_new(s->loop, NEAP_TCP, NEAP_AF_UNSPEC, &s->listener));
    assert_ok(neap_sock_bind(s->listener, &addr));
    assert_ok(neap_sock_listen(s->listener, 0));
    assert_ok(neap_sock_local(s->listener, &addr));
    assert_code(neap_sock_accept(s->listener, NEAP_WANT_FUTURE, &none, NULL, &future),
                NEAP_PENDING);
    assert_ok(neap_future_on_done(future, on_accepted, s, NULL, NULL));
    neap_future_unref(future);
    assert_ok(neap_sock_new(s->loop, NEAP_TCP, NEAP_AF_UNSPEC, &s->client));
    assert_code(neap_sock_connect(s->client, &addr, NEAP_WANT_FUTURE, &future), NEAP_PENDING);
    assert_ok(neap_future_on_done(future, on_connected, s, NULL, NULL));
    neap_future_unref(future);
}

/* ---- Posts ----------------------------------------------------------------------------------- */

static void on_post(void *user) {
    scene *s = user;
    s->posts++;
    look(s);
}

static void *post_all(void *user) {
    scene *s = user;
    struct timespec pause = {.tv_nsec = 500000};
    for (int i = 0; i < SCENE_POSTS; i++) {
        if (neap_loop_post(s->loop, on_post, s, NULL) != 0)
            break;
        if (i % 10 == 0)
            nanosleep(&pause, NULL);
    }
    return NULL;
}

int scene_setup(void **state) {
    const char *named = getenv("NEAP_TEST_BACKEND");
    nt.backend = named != NULL && *named != '\0' ? named : "epoll";
    return nt_setup(state);
}

/* ---- The whole ------------------------------------------------------------------------------- */

void scene_begin(scene *s, neap_loop *loop, void (*finished)(void *host), void *host) {
    memset(s, 0, sizeof *s);
    s->loop = loop;
    s->finished = finished;
    s->host = host;
    for (int i = 0; i < SCENE_TIMERS; i++)
        assert_ok(neap_call_later(loop, i * NT_MS, on_timer, s, NULL, NULL));
    assert_ok(neap_call_every(loop, NT_MS, 2 * NT_MS, on_repeat, s, NULL, &s->repeating));
    begin_exchange(s);
    assert_int_equal(pthread_create(&s->thread, NULL, post_all, s), 0);
}

void scene_end(scene *s) {
    assert_int_equal(pthread_join(s->thread, NULL), 0);
    assert_int_equal(s->timers, SCENE_TIMERS);
    assert_int_equal(s->rounds, SCENE_ROUNDS);
    assert_int_equal(s->posts, SCENE_POSTS);
    assert_true(s->ticks > 0);
    assert_int_equal(neap_handle_cancel(s->repeating), 1);
    neap_handle_unref(s->repeating);
    assert_ok(neap_sock_close(s->client));
    assert_ok(neap_sock_close(s->server));
    assert_ok(neap_sock_close(s->listener));
    for (int i = 0; i < 10; i++)
        assert_true(neap_loop_run_once(s->loop, 0) >= 0);
    neap_sock_unref(s->client);
    neap_sock_unref(s->server);
    neap_sock_unref(s->listener);
}

static void never(void *user) {
    (void)user;
    fail_msg("a timer of an hour has fired");
}

void idle_begin(idle_scene *s, neap_loop *loop) {
    neap_addr addr = {0};
    neap_sock *none = NULL;
    memset(s, 0, sizeof *s);
    assert_ok(neap_sock_pair(loop, NEAP_UNIX, &s->a, &s->b));
    assert_code(neap_sock_recv(s->a, s->buf, sizeof s->buf, 0, &s->recv), NEAP_PENDING);
    assert_ok(neap_addr_parse("127.0.0.1:0", &addr));
    assert_ok(neap_sock_new(loop, NEAP_TCP, NEAP_AF_UNSPEC, &s->listener));
    assert_ok(neap_sock_bind(s->listener, &addr));
    assert_ok(neap_sock_listen(s->listener, 0));
    assert_code(neap_sock_accept(s->listener, 0, &none, NULL, &s->accept), NEAP_PENDING);
    assert_ok(neap_call_later(loop, 3600 * NT_SEC, never, NULL, NULL, &s->timer));
}

void idle_end(idle_scene *s) {
    assert_int_equal(neap_handle_cancel(s->timer), 1);
    neap_handle_unref(s->timer);
    assert_state(s->recv, NEAP_STATE_PENDING);
    assert_state(s->accept, NEAP_STATE_PENDING);
    assert_ok(neap_sock_close(s->a));
    assert_ok(neap_sock_close(s->b));
    assert_ok(neap_sock_close(s->listener));
    nt_until(s->recv);
    nt_until(s->accept);
    neap_future_unref(s->recv);
    neap_future_unref(s->accept);
    neap_sock_unref(s->a);
    neap_sock_unref(s->b);
    neap_sock_unref(s->listener);
}
