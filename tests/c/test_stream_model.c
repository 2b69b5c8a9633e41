/* A stream beside a model: random writes and files of random sizes at one end, random reads of all kinds at the other, pauses,
   cancellations and bytes put back between them; every byte arrives once and in its place.  The last seed that is printed
   is that of the round that failed; NEAP_TEST_SEED repeats one. */
#include "push_client.h"

#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    TOTAL = 600000,
    BIGGEST = 200000
};

typedef struct model {
    uint64_t seed;
    neap_stream *from, *to;
    size_t written; /* by us */
    size_t read;    /* and checked */
    int file;       /* with the whole pattern */
    neap_future *reading;
    int kind; /* of that */
    size_t wanted;
    neap_future *writing[4];
    bool ended;
} model;

/* The values that stand for lines: each 256th or so. */
static const neap_iov DELIMS[] = {{"\n", 1}, {"\x01\x02", 2}};

static size_t below(model *m, size_t n) {
    return (size_t)net_below(&m->seed, n);
}

/* Mostly small, sometimes large. */
static size_t some(model *m) {
    switch (below(m, 8)) {
    case 0:
        return 1;
    case 1:
        return 1 + below(m, BIGGEST);
    default:
        return 1 + below(m, below(m, 2) ? 100 : 5000);
    }
}

/* ---- Writing */

static void await_later(model *m, neap_future *future) {
    if (future == NULL)
        return;
    size_t i = below(m, 4);
    if (m->writing[i] != NULL)
        neap_future_unref(m->writing[i]);
    m->writing[i] = future;
    if (below(m, 4) == 0)
        neap_future_cancel(future, NULL);
}

static int64_t write_by(model *m, size_t len, uint32_t flags, neap_future **ret_future) {
    static unsigned char data[BIGGEST];
    net_fill_pattern(data, len, m->written);
    size_t cut = below(m, len + 1);
    const neap_iov parts[] = {{data, cut}, {NULL, 0}, {data + cut, len - cut}};
    switch (below(m, 4)) {
    case 0:
        return neap_stream_writev(m->to, parts, 3, flags, ret_future);
    case 1:
        return neap_stream_sendfile(m->to, m->file, (int64_t)m->written, (int64_t)len, flags,
                                    ret_future);
    default:
        return neap_stream_write(m->to, data, len, flags, ret_future);
    }
}

static void write_some(model *m) {
    static const uint32_t forms[] = {0, NEAP_NOWAIT, NEAP_WANT_FUTURE, NEAP_STREAM_BUFFER};
    neap_future *future = NULL;
    size_t len = some(m);
    if (len > TOTAL - m->written)
        len = TOTAL - m->written;
    if (neap_stream_unsent(m->to) > 1 << 20)
        return;
    if (len == 0) {
        int64_t rc = m->ended ? 0 : neap_stream_write_eof(m->to, 0, &future);
        assert_true(rc == 0 || rc == NEAP_PENDING);
        m->ended = true;
    } else {
        int64_t rc = write_by(m, len, forms[below(m, 4)], &future);
        assert_true(rc == (int64_t)len || rc == NEAP_PENDING || rc == NEAP_EAGAIN);
        m->written += rc == NEAP_EAGAIN ? 0 : len;
    }
    await_later(m, future);
}

/* ---- Reading */

enum {
    SOME,
    EXACTLY,
    UNTIL,
    FILL
};

static void check(model *m, const void *data, size_t len) {
    net_expect_pattern(data, len, m->read);
    m->read += len;
    assert_true(m->read <= m->written);
    if (below(m, 8) == 0) { /* some of it goes back */
        size_t back = below(m, len + 1);
        assert_ok(neap_stream_unread(m->from, (const char *)data + len - back, back));
        m->read -= back;
    }
}

static void consume_some(model *m) {
    const void *data = NULL;
    int64_t there = neap_stream_peek(m->from, &data);
    assert_true(there >= 0);
    size_t n = below(m, (size_t)there + 1);
    net_expect_pattern(data, n, m->read);
    assert_ok(neap_stream_consume(m->from, n));
    m->read += n;
}

/* Only an end in the middle, or a line that is too long, may fail; then nothing was taken. */
static void expect_failure(const model *m, int32_t code) {
    bool incomplete = code == NEAP_EINCOMPLETE && m->ended && m->kind != SOME;
    assert_true(incomplete || (code == NEAP_ELIMIT && m->kind == UNTIL) || code == NEAP_EAGAIN ||
                code == NEAP_ECANCELED);
}

static int64_t read_by(model *m, uint32_t flags, const void **ret_data, neap_future **ret_future) {
    switch (m->kind) {
    case SOME:
        return neap_stream_read(m->from, m->wanted, flags, ret_data, ret_future);
    case EXACTLY:
        return neap_stream_read_exactly(m->from, m->wanted, flags, ret_data, ret_future);
    case UNTIL:
        return neap_stream_read_until(m->from, DELIMS, 2, m->wanted, flags | NEAP_STREAM_REST,
                                      ret_data, ret_future);
    default:
        return neap_stream_fill(m->from, m->wanted, flags, ret_future);
    }
}

static void begin_read(model *m) {
    static const uint32_t forms[] = {0, NEAP_NOWAIT, NEAP_WANT_FUTURE};
    const void *data = NULL;
    m->kind = (int)below(m, 4);
    m->wanted = some(m);
    int64_t n = read_by(m, forms[below(m, 3)], &data, &m->reading);
    if (m->reading != NULL)
        assert_ok(neap_future_ignore(m->reading));
    if (n == NEAP_PENDING)
        return;
    assert_null(m->reading);
    if (n < 0)
        expect_failure(m, (int32_t)n);
    else if (m->kind == FILL)
        consume_some(m);
    else
        check(m, data, (size_t)n);
}

static void end_read(model *m) {
    const void *data = NULL;
    size_t len = 0;
    neap_future *future = m->reading;
    if (!neap_future_done(future) && below(m, 20) == 0)
        neap_future_cancel(future, NULL);
    if (!neap_future_done(future))
        return;
    m->reading = NULL;
    int32_t code = neap_future_error(future);
    if (code < 0) {
        expect_failure(m, code);
    } else if (m->kind == FILL) {
        consume_some(m);
    } else {
        assert_ok(neap_future_get_bytes(future, &data, &len));
        check(m, data, len);
    }
    neap_future_unref(future);
}

/* ---- Rounds */

static void step(model *m) {
    switch (below(m, 4)) {
    case 0:
        write_some(m);
        break;
    case 1:
        nt_turn();
        break;
    default:
        if (m->reading == NULL)
            begin_read(m);
        else
            end_read(m);
    }
}

static void finish(model *m) {
    for (int i = 0; i < 4; i++)
        neap_future_unref(m->writing[i]);
    neap_future_unref(m->reading);
    st_end(m->to, -1);
    st_end(m->from, -1);
    net_close(m->file);
}

static int pattern_file(void) {
    char path[] = "/tmp/neap-test-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    unsigned char *data = malloc(TOTAL);
    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    net_fill_pattern(data, TOTAL, 0);
    assert_int_equal(pwrite(fd, data, TOTAL, 0), TOTAL);
    free(data);
    return fd;
}

/* The two ends of a connection over TCP. */
static void make_tcp(neap_stream **ret_a, neap_stream **ret_b) {
    int peer;
    *ret_a = st_tcp(&peer);
    *ret_b = st_open(peer, 0);
}

static void make_unix(neap_stream **ret_a, neap_stream **ret_b) {
    assert_ok(neap_stream_pair(nt.loop, ret_a, ret_b));
}

static void run_round(uint64_t seed, void (*make)(neap_stream **ret_a, neap_stream **ret_b),
                      bool storms) {
    model m = {.seed = seed, .file = pattern_file()};
    make(&m.from, &m.to);
    const void *data = NULL;
    if (storms)
        net_storm_begin();
    for (long i = 0; !(m.ended && m.read == TOTAL && m.reading == NULL); i++) {
        assert_true(i < 10000000);
        step(&m);
    }
    if (storms)
        net_storm_end();
    neap_future *last = NULL;
    int64_t n = neap_stream_read(m.from, 1, 0, &data, &last);
    if (n == NEAP_PENDING)
        st_bytes(last, "");
    else
        assert_int_equal(n, 0);
    assert_int_equal(neap_stream_at_end(m.from), 1);
    finish(&m);
}

static void run_rounds(void (*make)(neap_stream **ret_a, neap_stream **ret_b)) {
    const char *given = getenv("NEAP_TEST_SEED");
    uint64_t first = given != NULL ? strtoull(given, NULL, 10) : 1;
    uint64_t n = given != NULL ? 1 : nt_slow_machine() ? 3 : 12;
    for (uint64_t seed = first; seed < first + n; seed++) {
        fprintf(stderr, "seed %llu\n", (unsigned long long)seed);
        run_round(seed, make, false);
    }
}

static void every_byte_arrives_once_over_unix(void **state) {
    (void)state;
    run_rounds(make_unix);
}

static void every_byte_arrives_once_over_tcp(void **state) {
    (void)state;
    run_rounds(make_tcp);
}

static void every_byte_arrives_once_over_a_pipe(void **state) {
    (void)state;
    run_rounds(st_pipe);
}

/* ---- Under a storm of signals */

static void every_byte_arrives_once_in_a_storm_of_signals(void **state) {
    (void)state;
    run_round(7, make_unix, true);
    run_round(7, make_tcp, true);
    run_round(7, st_pipe, true);
}

/* ---- One byte at a time */

static void bytes_go_one_by_one(void **state) {
    (void)state;
    enum {
        LEN = 3000
    };
    neap_stream *a = NULL, *b = NULL;
    assert_ok(neap_stream_pair(nt.loop, &a, &b));
    for (size_t i = 0; i < LEN; i++) {
        unsigned char byte = net_byte(i);
        neap_future *future = st_park_exactly(b, 1);
        assert_int_equal(neap_stream_write(a, &byte, 1, NEAP_NOWAIT, NULL), 1);
        const void *data = NULL;
        size_t len = 0;
        nt_until(future);
        assert_ok(neap_future_get_bytes(future, &data, &len));
        assert_int_equal(len, 1);
        net_expect_pattern(data, 1, i);
        neap_future_unref(future);
    }
    st_end(a, -1);
    st_end(b, -1);
}

/* ---- Push mode beside the same model */

static void pause_by_chance(void *user) {
    client *c = user;
    if (c->total % 3 == 0)
        client_pause(c);
}

static void push_rounds(void (*make)(neap_stream **ret_a, neap_stream **ret_b)) {
    for (uint64_t seed = 1; seed <= 6; seed++) {
        model m = {.seed = seed, .file = pattern_file()};
        client c = {.patterned = 1, .in_data = pause_by_chance, .room = 1 + seed};
        make(&m.from, &m.to);
        if (seed % 2)
            client_start(&c, m.from);
        else
            client_start_own(&c, m.from);
        for (long i = 0; nt.notes_len < 3 || strcmp(nt.notes + nt.notes_len - 3, "eof") != 0; i++) {
            assert_true(i < 10000000);
            if (below(&m, 3) == 0)
                write_some(&m);
            if (below(&m, 3) == 0)
                assert_ok(neap_stream_resume(m.from));
            if (nt.notes_len > NT_NOTES_MAX / 2)
                nt_note_clear();
            nt_turn();
        }
        assert_int_equal(c.total, TOTAL);
        finish(&m);
        nt_settle();
        client_expect_over(&c, 0);
        nt_note_clear();
    }
}

static void every_byte_is_pushed_once(void **state) {
    (void)state;
    push_rounds(make_unix);
    push_rounds(make_tcp);
    push_rounds(st_pipe);
}

NT_MAIN(NT_TEST(every_byte_arrives_once_over_unix), NT_TEST(every_byte_arrives_once_over_tcp),
        NT_TEST(every_byte_arrives_once_over_a_pipe),
        NT_TEST(every_byte_arrives_once_in_a_storm_of_signals), NT_TEST(bytes_go_one_by_one),
        NT_TEST(every_byte_is_pushed_once))
