/* uv_echo.c - libuv's echo in C, the way that costs libuv least: one shared receive buffer,
 * uv_try_write first, and a queued write of a copy only for what the kernel did not take. */
#include "peer.h"

#include <string.h>
#include <uv.h>

struct pending_write {
    uv_write_t req;
    char bytes[PEER_CHUNK];
};

static char shared[PEER_CHUNK];

static void check(int rc, const char *what) {
    if (rc < 0) {
        fprintf(stderr, "%s: %s\n", what, uv_strerror(rc));
        exit(1);
    }
}

static void on_closed(uv_handle_t *handle) {
    free(handle);
}

static void lend(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(shared, sizeof(shared));
}

static void on_written(uv_write_t *req, int status) {
    uv_handle_t *handle = (uv_handle_t *)req->handle;
    if (status < 0 && !uv_is_closing(handle))
        uv_close(handle, on_closed);
    free(req);
}

static void write_later(uv_stream_t *stream, const char *bytes, size_t len) {
    struct pending_write *w = malloc(sizeof(*w));
    if (w == NULL)
        peer_die("malloc");
    memcpy(w->bytes, bytes, len);
    uv_buf_t buf = uv_buf_init(w->bytes, (unsigned)len);
    check(uv_write(&w->req, stream, &buf, 1, on_written), "uv_write");
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf) {
    if (n < 0) {
        uv_close((uv_handle_t *)stream, on_closed);
        return;
    }
    if (n == 0)
        return;
    uv_buf_t out = uv_buf_init(buf->base, (unsigned)n);
    int sent = uv_try_write(stream, &out, 1);
    if (sent == n)
        return;
    sent = sent < 0 ? 0 : sent;
    write_later(stream, buf->base + sent, (size_t)(n - sent));
}

static void on_connection(uv_stream_t *listener, int status) {
    if (status < 0)
        return;
    uv_tcp_t *conn = malloc(sizeof(*conn));
    if (conn == NULL)
        peer_die("malloc");
    check(uv_tcp_init(listener->loop, conn), "uv_tcp_init");
    check(uv_accept(listener, (uv_stream_t *)conn), "uv_accept");
    uv_tcp_nodelay(conn, 1);
    check(uv_read_start((uv_stream_t *)conn, lend, on_read), "uv_read_start");
}

int main(void) {
    uv_loop_t *loop = uv_default_loop();
    uv_tcp_t listener;
    peer_raise_descriptor_limit();
    check(uv_tcp_init(loop, &listener), "uv_tcp_init");
    check(uv_tcp_open(&listener, peer_listen()), "uv_tcp_open");
    check(uv_listen((uv_stream_t *)&listener, PEER_BACKLOG, on_connection), "uv_listen");
    return uv_run(loop, UV_RUN_DEFAULT);
}
