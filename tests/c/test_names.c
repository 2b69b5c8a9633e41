/* Names: what is answered at once, what a name server answers, and what becomes of lookups that nobody waits for. */
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "net.h"

static int has_ares(void) {
    return strcmp(neap_loop_resolver(nt.loop), "c-ares") == 0;
}

/* What needs a name server that the test can choose. */
static void need_ares(void) {
    if (!has_ares()) {
        print_message("c-ares was not built in: no name server can be chosen\n");
        skip();
    }
}

static void assert_addr(const neap_addrs *addrs, size_t index, const char *expected) {
    char text[128];
    neap_addr addr;
    assert_ok(neap_addrs_get(addrs, index, &addr));
    neap_addr_format(&addr, text, sizeof text);
    assert_string_equal(text, expected);
}

static neap_addrs *found_now(const char *host, const char *service, int32_t family) {
    neap_addrs *addrs = NULL;
    assert_ok(neap_getaddrinfo(nt.loop, host, service, family, NEAP_NOWAIT, &addrs, NULL));
    return addrs;
}

static neap_future *ask(const char *host, uint32_t flags) {
    neap_future *future = NULL;
    neap_addrs *addrs = NULL;
    assert_code(neap_getaddrinfo(nt.loop, host, "80", NEAP_AF_INET, flags, &addrs, &future),
                NEAP_PENDING);
    assert_null(addrs);
    return future;
}

static void use_engine(const char *name) {
    const neap_resolver_options o = {.size = sizeof o, .engine = name};
    assert_ok(neap_loop_set_resolver(nt.loop, &o));
}

/* ---- A name server: each name is 192.0.2.1, once the test lets it answer */

typedef struct server {
    int fd;
    int stop[2];
    pthread_t thread;
    sem_t asked;
    sem_t answer;
} server;

static void serve_one(server *s) {
    static const unsigned char record[] = {0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 1};
    unsigned char data[600];
    struct sockaddr_in from;
    socklen_t from_len = sizeof from;
    ssize_t n = recvfrom(s->fd, data, 500, 0, (struct sockaddr *)&from, &from_len);
    if (n < 12)
        return;
    sem_post(&s->asked);
    sem_wait(&s->answer);
    data[2] = 0x81; /* a response to a recursive query */
    data[3] = 0x80;
    data[7] = 1;
    size_t end = 12;
    while (data[end] != 0)
        end += data[end] + 1u;
    end += 5;
    memset(data + 8, 0, 4); /* nothing but one answer */
    memcpy(data + end, record, sizeof record);
    (void)!sendto(s->fd, data, end + sizeof record, 0, (struct sockaddr *)&from, from_len);
}

static void *serve(void *user) {
    server *s = user;
    for (;;) {
        struct pollfd fds[] = {{s->stop[0], POLLIN, 0}, {s->fd, POLLIN, 0}};
        (void)poll(fds, 2, -1);
        if (fds[0].revents != 0)
            return NULL;
        serve_one(s);
    }
}

static void server_begin(server *s, unsigned answers) {
    char servers[128];
    neap_addr addr;
    s->fd = net_raw_udp(&addr);
    assert_int_equal(pipe(s->stop), 0);
    sem_init(&s->asked, 0, 0);
    sem_init(&s->answer, 0, answers);
    assert_int_equal(pthread_create(&s->thread, NULL, serve, s), 0);
    neap_addr_format(&addr, servers, sizeof servers);
    const neap_resolver_options o = {
        .size = sizeof o, .engine = "c-ares", .servers = servers, .timeout_ns = 60 * NT_SEC};
    assert_ok(neap_loop_set_resolver(nt.loop, &o));
}

static void server_end(server *s) {
    for (int i = 0; i < 100; i++)
        sem_post(&s->answer);
    assert_int_equal(write(s->stop[1], "x", 1), 1);
    pthread_join(s->thread, NULL);
    close(s->fd);
    close(s->stop[0]);
    close(s->stop[1]);
}

/* ---- At once */

static void N14_numeric_addresses_and_localhost_come_at_once(void **state) {
    (void)state;
    neap_addrs *addrs = found_now("192.0.2.9", "80", NEAP_AF_UNSPEC);
    assert_int_equal(neap_addrs_count(addrs), 1);
    assert_addr(addrs, 0, "192.0.2.9:80");
    assert_null(neap_addrs_name(addrs));
    assert_null(neap_addrs_service(addrs));
    neap_addr addr;
    assert_code(neap_addrs_get(addrs, 1, &addr), NEAP_EINVAL);
    neap_addrs_unref(addrs);
    addrs = found_now("fe80::1%1", "0", NEAP_AF_INET6);
    assert_addr(addrs, 0, "[fe80::1%1]:0");
    neap_addrs_unref(addrs);
    addrs = found_now("db.LOCALHOST.", NULL, NEAP_AF_UNSPEC);
    assert_int_equal(neap_addrs_count(addrs), 2);
    assert_addr(addrs, 0, "[::1]:0");
    assert_addr(addrs, 1, "127.0.0.1:0");
    neap_addrs_unref(addrs);
    assert_int_equal(nt_metrics().futures, 0);
}

static void an_answer_that_is_there_can_be_had_as_a_future(void **state) {
    (void)state;
    neap_future *future = ask("localhost", NEAP_WANT_FUTURE | NEAP_CANONNAME);
    neap_addrs *addrs;
    assert_state(future, NEAP_STATE_RESULT);
    assert_ok(neap_future_get_addrs(future, &addrs));
    assert_addr(addrs, 0, "127.0.0.1:80");
    assert_string_equal(neap_addrs_name(addrs), "localhost");
    neap_future_unref(future);
}

static void what_cannot_be_a_host_is_refused_and_never_cut(void **state) {
    (void)state;
    char longest[400];
    const char *bad[] = {"",    ".",    "a..b", ".a",        "a b", "1",
                         "1.2", "a\tb", "a/b",  "256.1.1.1", "a:b", "[::1]:80"};
    neap_addrs *addrs;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_code(neap_getaddrinfo(nt.loop, bad[i], NULL, 0, NEAP_NOWAIT, &addrs, NULL),
                    NEAP_ENAME_BAD);
    memset(longest, 'x', sizeof longest);
    for (size_t at = 63; at < sizeof longest; at += 64)
        longest[at] = '.';
    longest[253] = '\0'; /* as long as a name may be: it would be asked for */
    assert_code(neap_getaddrinfo(nt.loop, longest, NULL, 0, NEAP_NOWAIT, &addrs, NULL),
                NEAP_EAGAIN);
    longest[253] = '.';
    longest[254] = '\0';
    assert_code(neap_getaddrinfo(nt.loop, longest, NULL, 0, NEAP_NOWAIT, &addrs, NULL),
                NEAP_EAGAIN);
    longest[253] = 'x';
    assert_code(neap_getaddrinfo(nt.loop, longest, NULL, 0, NEAP_NOWAIT, &addrs, NULL),
                NEAP_ENAME_BAD);
    longest[253] = longest[63] = 'x';
    longest[64] = '\0';
    assert_code(neap_getaddrinfo(nt.loop, longest, NULL, 0, NEAP_NOWAIT, &addrs, NULL),
                NEAP_ENAME_BAD);
}

static void arguments_that_make_no_sense_are_refused(void **state) {
    (void)state;
    neap_addrs *addrs;
    neap_future *future;
    neap_addr path = net_addr("/tmp/x");
    const neap_resolver_options unknown = {.size = sizeof unknown, .engine = "smoke"};
    const neap_resolver_options named = {.size = sizeof named, .servers = "ns.test:53"};
    const neap_resolver_options early = {.size = sizeof early, .cache = 10, .negative_ns = -1};
    assert_code(neap_getaddrinfo(nt.loop, NULL, NULL, 0, 0, &addrs, &future), NEAP_EINVAL);
    assert_code(neap_getaddrinfo(nt.loop, "x", NULL, NEAP_AF_UNIX, 0, &addrs, &future),
                NEAP_EINVAL);
    assert_code(neap_getaddrinfo(nt.loop, "x", NULL, 0, 1u << 30, &addrs, &future), NEAP_EINVAL);
    assert_code(neap_getaddrinfo(nt.loop, "x", NULL, 0, 0, &addrs, NULL), NEAP_EINVAL);
    assert_code(neap_getaddrinfo(nt.loop, "localhost", "65536", 0, 0, &addrs, &future),
                NEAP_EVALUE);
    assert_code(neap_getaddrinfo(nt.loop, "::1", NULL, NEAP_AF_INET, 0, &addrs, &future),
                NEAP_ENAME_NO_ADDRESS);
    assert_code(neap_getnameinfo(nt.loop, &path, &future), NEAP_EVALUE);
    assert_code(neap_getnameinfo(nt.loop, NULL, &future), NEAP_EINVAL);
    assert_code(neap_loop_set_resolver(nt.loop, &unknown), NEAP_ENOTSUP);
    assert_code(neap_loop_set_resolver(nt.loop, &early), NEAP_EVALUE);
    assert_code(neap_loop_set_resolver(nt.loop, &named), has_ares() ? NEAP_EVALUE : NEAP_ENOTSUP);
    assert_ok(neap_loop_set_resolver(nt.loop, NULL));
}

static void the_system_has_no_name_servers_to_be_chosen(void **state) {
    (void)state;
    const neap_resolver_options o = {
        .size = sizeof o, .engine = "system", .servers = "127.0.0.1:53"};
    assert_code(neap_loop_set_resolver(nt.loop, &o), NEAP_ENOTSUP);
    use_engine("system");
    assert_string_equal(neap_loop_resolver(nt.loop), "system");
}

/* ---- Later */

static void a_name_comes_later_through_a_future(void **state) {
    (void)state;
    need_ares();
    server s;
    neap_addrs *addrs;
    server_begin(&s, 1);
    neap_future *future = ask("x.test", 0);
    nt_until(future);
    assert_ok(neap_future_get_addrs(future, &addrs));
    assert_int_equal(neap_addrs_count(addrs), 1);
    assert_addr(addrs, 0, "192.0.2.1:80");
    assert_code(neap_future_get_int(future, &(int64_t){0}), NEAP_ETYPE);
    neap_future_unref(future);
    server_end(&s);
}

static void addresses_outlive_their_future_and_their_loop(void **state) {
    (void)state;
    neap_future *future = ask("localhost", NEAP_WANT_FUTURE);
    neap_addrs *addrs;
    assert_ok(neap_future_get_addrs(future, &addrs));
    neap_addrs_ref(addrs);
    neap_future_unref(future);
    nt_loop_end(nt.loop);
    assert_addr(addrs, 0, "127.0.0.1:80");
    neap_addrs_unref(addrs);
    nt.loop = nt_loop_new(0);
}

static void callbacks_run_though_nobody_keeps_the_future(void **state) {
    (void)state;
    need_ares();
    server s;
    server_begin(&s, 1);
    neap_future *future = ask("x.test", 0);
    nt_on_done(future, "found");
    neap_future_unref(future);
    while (nt.notes_len == 0)
        assert_true(neap_loop_run_once(nt.loop, -1) >= 0);
    assert_notes("found");
    server_end(&s);
}

static void D25_a_cancelled_lookup_is_over_at_once_and_its_answer_is_dropped(void **state) {
    (void)state;
    need_ares();
    server s;
    server_begin(&s, 0);
    neap_future *first = ask("first.test", 0);
    sem_wait(&s.asked);
    assert_int_equal(neap_future_cancel(first, "enough"), 1);
    assert_state(first, NEAP_STATE_CANCELLED);
    assert_string_equal(neap_future_message(first), "enough");
    sem_post(&s.answer);
    sem_post(&s.answer);
    neap_future *second = ask("second.test", 0);
    nt_until(second); /* the late answer came before */
    assert_state(second, NEAP_STATE_RESULT);
    neap_future_unref(first);
    neap_future_unref(second);
    server_end(&s);
}

static void a_loop_that_closes_ends_its_lookups(void **state) {
    (void)state;
    need_ares();
    server s;
    server_begin(&s, 0);
    neap_future *future = ask("x.test", 0);
    nt_on_done(future, "ended");
    sem_wait(&s.asked);
    assert_ok(neap_loop_close(nt.loop, 0));
    assert_notes("ended");
    assert_code(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
    neap_loop_unref(nt.loop);
    server_end(&s);
    nt.loop = nt_loop_new(0);
}

static void a_lookup_keeps_a_run_from_being_a_deadlock_and_a_virtual_clock_still(void **state) {
    (void)state;
    need_ares();
    server s;
    server_begin(&s, 0);
    neap_future *future = ask("x.test", 0);
    neap_handle *timer = nt_later_handle(NT_SEC, "timer");
    sem_wait(&s.asked);
    nt_turns(3);
    assert_int_equal(neap_loop_alive(nt.loop), 1);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    sem_post(&s.answer);
    nt_until(future);
    assert_int_equal(neap_loop_time(nt.loop), 0);
    neap_handle_cancel(timer);
    neap_handle_unref(timer);
    neap_future_unref(future);
    server_end(&s);
}

static int child_abandons(void *user) {
    neap_future *future = user;
    if (neap_future_cancel(future, NULL) != NEAP_EFORKED)
        return 1;
    if (neap_loop_abandon(nt.loop) != 0)
        return 2;
    if (neap_loop_is_closed(nt.loop) != 1)
        return 3;
    neap_future_unref(future);
    neap_loop_unref(nt.loop);
    return 0;
}

static void a_forked_child_gets_rid_of_a_loop_that_looks_names_up(void **state) {
    (void)state;
    need_ares();
    server s;
    server_begin(&s, 0);
    neap_future *future = ask("x.test", 0);
    sem_wait(&s.asked);
    assert_int_equal(nt_in_child(child_abandons, future), 0);
    sem_post(&s.answer);
    nt_until(future); /* the parent has lost nothing */
    assert_state(future, NEAP_STATE_RESULT);
    neap_future_unref(future);
    server_end(&s);
}

/* ---- The system's resolver, on a pool */

static void ask_both_engines(void) {
    const char *names[] = {neap_loop_resolver(nt.loop), "system"};
    for (int i = 0; i < 2; i++) {
        neap_future *future = NULL;
        neap_addrs *addrs = NULL;
        use_engine(names[i]);
        assert_code(neap_getaddrinfo(nt.loop, "127.0.0.1", "https", 0, 0, &addrs, &future),
                    NEAP_PENDING);
        nt_until(future);
        assert_ok(neap_future_get_addrs(future, &addrs));
        assert_addr(addrs, 0, "127.0.0.1:443");
        neap_future_unref(future);
        neap_addr addr = net_addr("127.0.0.1:443");
        assert_code(neap_getnameinfo(nt.loop, &addr, &future), NEAP_PENDING);
        nt_until(future);
        assert_ok(neap_future_get_addrs(future, &addrs));
        assert_string_equal(neap_addrs_name(addrs), "localhost");
        assert_string_equal(neap_addrs_service(addrs), "https");
        assert_addr(addrs, 0, "127.0.0.1:443");
        neap_future_unref(future);
    }
}

static void engines_find_ports_and_names_in_the_files_of_the_system(void **state) {
    (void)state;
    ask_both_engines();
}

static void a_storm_of_signals_disturbs_no_lookup(void **state) {
    (void)state;
    net_storm_begin();
    do
        ask_both_engines();
    while (net_storms() < 100);
    net_storm_end();
}

typedef struct gate {
    sem_t begun, open;
} gate;

static int64_t wait_at(neap_job *job, void *user) {
    gate *g = user;
    (void)job;
    sem_post(&g->begun);
    sem_wait(&g->open);
    return 0;
}

/* The only thread of the pool for names is busy until the gate is opened. */
static neap_pool *occupy(gate *g) {
    const neap_pool_options o = {
        .size = sizeof o, .allocator = &nt.heap.hook, .threads_max = 1, .queue_max = 2};
    neap_pool *pool;
    sem_init(&g->begun, 0, 0);
    sem_init(&g->open, 0, 0);
    assert_ok(neap_pool_new(&o, &pool));
    assert_ok(neap_pool_submit(pool, NULL, wait_at, g, NULL, NULL, NULL));
    sem_wait(&g->begun);
    assert_ok(neap_loop_set_pool(nt.loop, NEAP_POOL_NAMES, pool));
    use_engine("system");
    return pool;
}

static void leave(neap_pool *pool) {
    assert_int_equal(neap_pool_shutdown(pool, -1, NEAP_POOL_FINISH, NULL, NULL), 0);
    neap_pool_unref(pool);
}

static void D25_a_lookup_that_had_to_queue_says_for_how_long(void **state) {
    (void)state;
    gate g;
    neap_future *future = NULL;
    neap_addrs *addrs = NULL;
    neap_pool *pool = occupy(&g);
    assert_code(neap_getaddrinfo(nt.loop, "localhost", "no-such", 0, 0, &addrs, &future),
                NEAP_PENDING);
    usleep(150000);
    sem_post(&g.open);
    nt_until(future);
    assert_code(neap_future_error(future), NEAP_ESERVICE_NOT_FOUND);
    const char *text = neap_future_message(future);
    assert_memory_equal(text, "no-such: no such service, after ", 32);
    assert_non_null(strstr(text, " s in the queue"));
    neap_future_unref(future);
    leave(pool);
}

static void D25_lookups_beyond_the_queue_are_busy_and_cancelled_ones_never_begin(void **state) {
    (void)state;
    gate g;
    neap_pool *pool = occupy(&g);
    neap_future *futures[3];
    neap_addrs *addrs = NULL;
    for (int i = 0; i < 3; i++)
        assert_code(neap_getaddrinfo(nt.loop, "localhost", "https", 0, 0, &addrs, &futures[i]),
                    NEAP_PENDING);
    nt_until(futures[2]);
    assert_code(neap_future_error(futures[2]), NEAP_EBUSY);
    assert_int_equal(neap_future_cancel(futures[0], NULL), 1);
    assert_state(futures[0], NEAP_STATE_CANCELLED);
    sem_post(&g.open);
    nt_until(futures[1]);
    assert_state(futures[1], NEAP_STATE_RESULT);
    for (int i = 0; i < 3; i++)
        neap_future_unref(futures[i]);
    leave(pool);
}

static void a_pool_that_ends_first_ends_the_lookups_in_it(void **state) {
    (void)state;
    gate g;
    neap_pool *pool = occupy(&g);
    neap_future *future = NULL;
    neap_addrs *addrs = NULL;
    assert_code(neap_getaddrinfo(nt.loop, "localhost", "https", 0, 0, &addrs, &future),
                NEAP_PENDING);
    assert_int_equal(neap_pool_close(pool, 0), 1);
    nt_until(future);
    assert_code(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
    sem_post(&g.open);
    leave(pool);
}

NT_MAIN(NT_TEST(N14_numeric_addresses_and_localhost_come_at_once),
        NT_TEST(an_answer_that_is_there_can_be_had_as_a_future),
        NT_TEST(what_cannot_be_a_host_is_refused_and_never_cut),
        NT_TEST(arguments_that_make_no_sense_are_refused),
        NT_TEST(the_system_has_no_name_servers_to_be_chosen),
        NT_TEST(a_name_comes_later_through_a_future),
        NT_TEST(addresses_outlive_their_future_and_their_loop),
        NT_TEST(callbacks_run_though_nobody_keeps_the_future),
        NT_TEST(D25_a_cancelled_lookup_is_over_at_once_and_its_answer_is_dropped),
        NT_TEST(a_loop_that_closes_ends_its_lookups),
        NT_TEST_VIRTUAL(a_lookup_keeps_a_run_from_being_a_deadlock_and_a_virtual_clock_still),
        NT_TEST(a_forked_child_gets_rid_of_a_loop_that_looks_names_up),
        NT_TEST(engines_find_ports_and_names_in_the_files_of_the_system),
        NT_TEST(a_storm_of_signals_disturbs_no_lookup),
        NT_TEST(D25_a_lookup_that_had_to_queue_says_for_how_long),
        NT_TEST(D25_lookups_beyond_the_queue_are_busy_and_cancelled_ones_never_begin),
        NT_TEST(a_pool_that_ends_first_ends_the_lookups_in_it))
