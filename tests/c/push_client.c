#include "push_client.h"

#include <string.h>

static void on_data(neap_stream *stream, const void *data, size_t len, void *user) {
    client *c = user;
    assert_ptr_equal(stream, c->stream);
    assert_true(len > 0);
    assert_int_equal(c->closed, 0);
    if (c->patterned)
        net_expect_pattern(data, len, c->total);
    if (c->len + len < sizeof c->bytes) {
        memcpy(c->bytes + c->len, data, len);
        c->len += len;
    }
    c->total += len;
    c->calls++;
    nt_note("data");
    if (c->in_data != NULL)
        c->in_data(c);
}

static void on_eof(neap_stream *stream, void *user) {
    client *c = user;
    assert_ptr_equal(stream, c->stream);
    assert_int_equal(c->closed, 0);
    nt_note("eof");
    if (c->in_eof != NULL)
        c->in_eof(c);
}

static void on_closed(neap_stream *stream, int32_t code, void *user) {
    client *c = user;
    assert_ptr_equal(stream, c->stream);
    assert_int_equal(c->destroyed, c->starts - 1);
    c->closed++;
    c->code = code;
    nt_note("closed");
    if (c->in_closed != NULL)
        c->in_closed(c);
}

static void on_can_write(neap_stream *stream, void *user) {
    client *c = user;
    assert_ptr_equal(stream, c->stream);
    assert_int_equal(c->closed, 0);
    nt_note("can_write");
    if (c->in_write != NULL)
        c->in_write(c);
}

static size_t on_buffer(neap_stream *stream, size_t suggested, void **ret_data, void *user) {
    client *c = user;
    assert_ptr_equal(stream, c->stream);
    assert_true(suggested > 0);
    c->asked++;
    *ret_data = c->own;
    return c->room;
}

const neap_stream_callbacks client_callbacks = {.size = sizeof client_callbacks,
                                                .data = on_data,
                                                .eof = on_eof,
                                                .closed = on_closed,
                                                .can_write = on_can_write};

const neap_stream_callbacks client_callbacks_own = {.size = sizeof client_callbacks_own,
                                                    .buffer = on_buffer,
                                                    .data = on_data,
                                                    .eof = on_eof,
                                                    .closed = on_closed,
                                                    .can_write = on_can_write};

void client_destroy(void *user) {
    ((client *)user)->destroyed++;
}

static void start(client *c, neap_stream *stream, const neap_stream_callbacks *callbacks) {
    c->stream = stream;
    c->starts++;
    assert_ok(neap_stream_start(stream, callbacks, c, client_destroy));
}

void client_start(client *c, neap_stream *stream) {
    start(c, stream, &client_callbacks);
}

void client_start_own(client *c, neap_stream *stream) {
    start(c, stream, &client_callbacks_own);
}

void client_expect_over(const client *c, int32_t code) {
    assert_int_equal(c->closed, 1);
    assert_string_equal(neap_err_name(c->code), neap_err_name(code));
    assert_int_equal(c->destroyed, c->starts);
}

void client_end(client *c, int peer) {
    st_end(c->stream, peer);
    nt_settle();
    client_expect_over(c, 0);
}

void client_close(void *user) {
    assert_ok(neap_stream_close(((client *)user)->stream, 0, NULL));
}

void client_abort(void *user) {
    assert_ok(neap_stream_abort(((client *)user)->stream));
}

void client_stop(void *user) {
    assert_int_equal(neap_stream_stop(((client *)user)->stream), 1);
}

void client_pause(void *user) {
    assert_ok(neap_stream_pause(((client *)user)->stream));
}

void client_unref(void *user) {
    neap_stream_unref(((client *)user)->stream);
}
