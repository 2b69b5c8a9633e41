/* Sockets across fork: the child can let go of the loop without touching what both share. */
#include "net.h"

#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

/* A loop with everything that the kernel knows of: a socket of its own, an adopted one, a watch and a
   one-shot wait, all registered and waiting. */
typedef struct family {
    neap_sock *conn;
    int conn_peer;
    neap_sock *adopted;
    int adopted_peer;
    int watched[2];
    int waited[2];
    char bufs[2][8];
    neap_future *recvs[2];
    neap_future *ready;
    int calls;
} family;

static void family_begin(family *f) {
    int fds[2];
    memset(f, 0, sizeof *f);
    f->conn = net_tcp(&f->conn_peer);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    assert_ok(neap_sock_adopt(nt.loop, fds[0], &f->adopted));
    f->adopted_peer = fds[1];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->watched), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, f->waited), 0);
    f->recvs[0] = net_park_recv(f->conn, f->bufs[0], 8);
    f->recvs[1] = net_park_recv(f->adopted, f->bufs[1], 8);
    assert_int_equal(neap_add_reader(nt.loop, f->watched[0], nt_count_fn, &f->calls, NULL), 0);
    assert_code(neap_fd_ready(nt.loop, f->waited[0], NEAP_READ, 0, &f->ready), NEAP_PENDING);
    nt_turns(2);
}

/* All of it still works in the parent. */
static void family_works(family *f) {
    nt_turns(2);
    assert_state(f->recvs[0], NEAP_STATE_PENDING);
    assert_state(f->recvs[1], NEAP_STATE_PENDING);
    assert_state(f->ready, NEAP_STATE_PENDING);
    assert_int_equal(f->calls, 0);
    net_put(f->conn_peer, "abc");
    net_put(f->adopted_peer, "de");
    net_put(f->watched[1], "x");
    net_put(f->waited[1], "y");
    net_result(f->recvs[0], 3);
    net_result(f->recvs[1], 2);
    net_result(f->ready, NEAP_READ);
    nt_turns(2);
    assert_true(f->calls >= 2);
}

static void family_end(family *f) {
    assert_int_equal(neap_remove_reader(nt.loop, f->watched[0]), 1);
    net_end(f->conn);
    net_end(f->adopted);
    net_close(f->conn_peer);
    net_close(f->adopted_peer);
    for (int i = 0; i < 2; i++) {
        net_close(f->watched[i]);
        net_close(f->waited[i]);
    }
}

static int child_abandons(void *user) {
    family *f = user;
    if (neap_loop_abandon(nt.loop) != 0)
        return 1;
    neap_sock_unref(f->conn);
    neap_sock_unref(f->adopted);
    neap_future_unref(f->recvs[0]);
    neap_future_unref(f->recvs[1]);
    neap_future_unref(f->ready);
    neap_loop_unref(nt.loop);
    return 0;
}

static void a_child_that_abandons_the_loop_disturbs_no_descriptor_of_the_parent(void **state) {
    (void)state;
    family f;
    family_begin(&f);
    assert_int_equal(nt_in_child(child_abandons, &f), 0);
    family_works(&f);
    family_end(&f);
}

static int child_only_unrefs(void *user) {
    family *f = user;
    neap_sock_unref(f->conn);
    neap_sock_unref(f->adopted);
    return 0;
}

static void
a_child_that_gives_up_its_references_disturbs_no_descriptor_of_the_parent(void **state) {
    (void)state;
    family f;
    family_begin(&f);
    assert_int_equal(nt_in_child(child_only_unrefs, &f), 0);
    family_works(&f);
    family_end(&f);
}

static int child_is_refused(void *user) {
    family *f = user;
    char buf[8];
    neap_future *future = NULL;
    neap_sock *sock = NULL;
    if (neap_sock_recv(f->conn, buf, 8, 0, &future) != NEAP_EFORKED)
        return 1;
    if (neap_sock_send(f->conn, "x", 1, NEAP_NOWAIT, NULL) != NEAP_EFORKED)
        return 2;
    if (neap_sock_close(f->conn) != NEAP_EFORKED)
        return 3;
    if (neap_sock_new(nt.loop, NEAP_TCP, NEAP_AF_INET, &sock) != NEAP_EFORKED)
        return 4;
    if (neap_add_reader(nt.loop, f->waited[1], nt_count_fn, buf, NULL) != NEAP_EFORKED)
        return 5;
    if (neap_remove_reader(nt.loop, f->watched[0]) != NEAP_EFORKED)
        return 6;
    if (neap_future_cancel(f->recvs[0], NULL) != NEAP_EFORKED)
        return 7;
    if (neap_loop_run_once(nt.loop, 0) != NEAP_EFORKED)
        return 8;
    return future == NULL && sock == NULL ? 0 : 9;
}

static void in_a_child_every_call_on_a_socket_is_refused(void **state) {
    (void)state;
    family f;
    family_begin(&f);
    assert_int_equal(nt_in_child(child_is_refused, &f), 0);
    family_works(&f);
    family_end(&f);
}

/* The child makes a loop of its own and answers over a descriptor that both inherited. */
static int child_serves(void *user) {
    const int *fds = user;
    neap_loop_options options = {.size = sizeof options, .backend = nt.backend};
    neap_loop *loop = NULL;
    neap_sock *sock = NULL;
    char buf[8];
    close(fds[0]);
    if (neap_loop_abandon(nt.loop) != 0)
        return 1;
    if (neap_loop_new(&options, &loop) != 0 || neap_sock_adopt(loop, fds[1], &sock) != 0)
        return 2;
    for (;;) {
        neap_future *future = NULL;
        int64_t n = neap_sock_recv(sock, buf, sizeof buf, 0, &future);
        if (n == NEAP_PENDING) {
            if (neap_loop_run_until(loop, future) != 0 || neap_future_get_int(future, &n) != 0)
                return 3;
            neap_future_unref(future);
        }
        if (n <= 0)
            break;
        if (neap_sock_send(sock, buf, (size_t)n, NEAP_NOWAIT, NULL) != n)
            return 4;
    }
    neap_sock_unref(sock);
    neap_loop_unref(loop);
    return 0;
}

static void a_child_may_have_a_loop_of_its_own(void **state) {
    (void)state;
    int fds[2];
    int status = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        alarm(30);
        _exit(child_serves(fds));
    }
    net_close(fds[1]);
    for (int i = 0; i < 20; i++) {
        net_put(fds[0], "ping");
        net_expect(fds[0], "ping");
    }
    net_close(fds[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

NT_MAIN(NT_TEST(a_child_that_abandons_the_loop_disturbs_no_descriptor_of_the_parent),
        NT_TEST(a_child_that_gives_up_its_references_disturbs_no_descriptor_of_the_parent),
        NT_TEST(in_a_child_every_call_on_a_socket_is_refused),
        NT_TEST(a_child_may_have_a_loop_of_its_own))
