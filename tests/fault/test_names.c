/* Names and connections under failing memory: see test_core.c. */
#include <string.h>
#include <unistd.h>

#include "net.h"

static int ok(int32_t code) {
    if (code < 0)
        assert_int_equal(code, NEAP_ENOMEM);
    return code >= 0;
}

/* Waits for an outcome, of which want of memory is one. */
static int32_t outcome(neap_loop *loop, neap_future *future) {
    while (neap_future_state(future) == NEAP_STATE_PENDING) {
        int32_t n = neap_loop_run_once(loop, NT_SEC);
        assert_true(n >= 0 || n == NEAP_ENOMEM);
    }
    int32_t code = neap_future_error(future);
    neap_future_unref(future);
    return code;
}

/* Answers a code: of the call, or of its future. */
static int32_t look_up(neap_loop *loop, const char *host, const char *service, uint32_t flags) {
    neap_future *future = NULL;
    neap_addrs *addrs = NULL;
    int32_t rc = neap_getaddrinfo(loop, host, service, 0, flags, &addrs, &future);
    if (rc == 0)
        neap_addrs_unref(addrs);
    return rc == NEAP_PENDING ? outcome(loop, future) : rc;
}

static void look_names_up(neap_loop *loop, const char *engine) {
    const neap_resolver_options o = {.size = sizeof o, .engine = engine, .cache = 10};
    neap_addr addr = net_loopback();
    neap_future *future = NULL;
    if (!ok(neap_loop_set_resolver(loop, &o)))
        return;
    ok(look_up(loop, "192.0.2.1", "80", 0));
    ok(look_up(loop, "localhost", "80", NEAP_WANT_FUTURE | NEAP_CANONNAME));
    ok(look_up(loop, "127.0.0.1", "https", 0));
    int32_t rc = look_up(loop, "localhost", "no-such-service", 0);
    assert_true(rc == NEAP_ENOMEM || rc == NEAP_ESERVICE_NOT_FOUND);
    rc = neap_getnameinfo(loop, &addr, &future);
    ok(rc == NEAP_PENDING ? outcome(loop, future) : rc);
}

static void names(void) {
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    look_names_up(loop, NULL);
    look_names_up(loop, "system");
    nt_loop_end(loop);
    nt_claim_all();
}

/* The same for a server that nobody reaches, whose answers are failures. */
static void answers_that_do_not_come(void) {
    const neap_resolver_options o = {
        .size = sizeof o, .servers = "127.0.0.1:1", .timeout_ns = NT_MS, .tries = 1};
    neap_loop *loop = nt_fault_loop(0);
    if (loop == NULL)
        return;
    int32_t rc = neap_loop_set_resolver(loop, &o);
    if (rc != NEAP_ENOTSUP && ok(rc)) {
        rc = look_up(loop, "x.test", "80", 0);
        assert_true(rc == NEAP_ENOMEM || rc == NEAP_ENAME_TEMPORARY);
    }
    nt_loop_end(loop);
    nt_claim_all();
}

static neap_addr listening;

/* Either there is a connection, or nothing. */
static void connections(void) {
    char text[64], *port;
    neap_loop *loop = nt_fault_loop(0);
    neap_future *future = NULL;
    if (loop == NULL)
        return;
    neap_addr_format(&listening, text, sizeof text);
    assert_non_null(port = strrchr(text, ':'));
    memmove(text + 9, port, strlen(port) + 1);
    memcpy(text, "localhost", 9);
    if (ok(neap_connect(loop, text, NULL, &future))) {
        int32_t rc = outcome(loop, future);
        assert_true(rc == 0 || rc == NEAP_ENOMEM);
    }
    nt_loop_end(loop);
    nt_claim_all();
}

static void under_failing_memory_names(void **state) {
    (void)state;
    nt_fault(names);
}

static void under_failing_memory_answers_that_do_not_come(void **state) {
    (void)state;
    nt_fault(answers_that_do_not_come);
}

static void under_failing_memory_connections(void **state) {
    (void)state;
    neap_addr any = net_loopback();
    int listener = net_raw_listen(&any, 1000, &listening);
    nt.fds++;
    nt_fault(connections);
    nt.fds--;
    net_close(listener);
}

NT_MAIN(NT_TEST_BARE(under_failing_memory_names),
        NT_TEST_BARE(under_failing_memory_answers_that_do_not_come),
        NT_TEST_BARE(under_failing_memory_connections))
