#include "refusals.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void no_call(void *user) {
    (void)user;
    abort();
}

static void no_future_call(neap_future *future, void *user) {
    (void)future;
    no_call(user);
}

static void no_connection_call(neap_server *server, neap_sock *sock, const neap_addr *peer,
                               void *user) {
    (void)server;
    (void)sock;
    (void)peer;
    no_call(user);
}

static int32_t no_connection_walk(const neap_connection *connection, void *user) {
    (void)connection;
    no_call(user);
    return 0;
}

static void no_signal_call(int32_t signo, void *user) {
    (void)signo;
    no_call(user);
}

static void no_report_call(neap_loop *loop, const neap_report *report, void *user) {
    (void)loop;
    (void)report;
    no_call(user);
}

static int32_t no_step(neap_task *task, neap_future *awaited, int32_t wake, void *user) {
    (void)task;
    (void)awaited;
    (void)wake;
    no_call(user);
    return NEAP_STEP_DONE;
}

static int32_t no_walk(neap_task *task, void *user) {
    (void)task;
    no_call(user);
    return 0;
}

static void no_write(const char *text, size_t len, void *user) {
    (void)text;
    (void)len;
    no_call(user);
}

static const neap_task_ops no_ops = {
    .size = sizeof(neap_task_ops), .step = no_step, .destroy = nt_count_fn};

static void expect(struct things *t, int64_t code, const char *call) {
    size_t used = strlen(t->wrong);
    if (code != t->expected)
        snprintf(t->wrong + used, sizeof t->wrong - used, "%.*s -> %d\n", (int)strcspn(call, "("),
                 call, (int)code);
}

#define REFUSED(call) expect(t, (int64_t)(call), #call)

static void no_data(neap_stream *stream, const void *data, size_t len, void *user) {
    (void)stream;
    (void)data;
    (void)len;
    no_call(user);
}

static const neap_stream_callbacks no_callbacks = {.size = sizeof no_callbacks, .data = no_data};

/* Calls that take (function, user, destroy): destroy runs also when they are refused. */
static int refuse_taking_calls(struct things *t) {
    static const char tag;
    int *n = &t->destroyed;
    REFUSED(neap_loop_set_data(t->loop, &tag, n, nt_count_fn));
    REFUSED(neap_loop_set_error_hook(t->loop, no_report_call, n, nt_count_fn));
    REFUSED(neap_loop_set_log_hook(t->loop, NULL, n, nt_count_fn));
    REFUSED(neap_loop_set_fatal_hook(t->loop, NULL, n, nt_count_fn));
    REFUSED(neap_loop_set_trace_hook(t->loop, NULL, n, nt_count_fn));
    REFUSED(neap_loop_set_idle_hook(t->loop, NULL, n, nt_count_fn));
    REFUSED(neap_loop_set_task_factory(t->loop, NULL, n, nt_count_fn));
    REFUSED(neap_call_soon(t->loop, no_call, n, nt_count_fn, NULL));
    REFUSED(neap_call_later(t->loop, 0, no_call, n, nt_count_fn, NULL));
    REFUSED(neap_call_at(t->loop, 0, no_call, n, nt_count_fn, NULL));
    REFUSED(neap_call_every(t->loop, 0, 1, no_call, n, nt_count_fn, NULL));
    REFUSED(neap_future_set_ptr(t->future, &tag, n, nt_count_fn));
    REFUSED(neap_future_set_exception(t->future, NEAP_EFOREIGN, NULL, &tag, n, nt_count_fn));
    REFUSED(neap_future_set_cancel_hook(t->future, no_future_call, n, nt_count_fn));
    REFUSED(neap_future_on_done(t->future, no_future_call, n, nt_count_fn, NULL));
    REFUSED(neap_task_spawn(t->loop, &no_ops, n, NULL, NULL));
    REFUSED(neap_task_new(t->loop, &no_ops, n, NULL, NULL));
    REFUSED(neap_local_set(t->loop, &tag, n, nt_count_fn));
    REFUSED(neap_add_reader(t->loop, 0, no_call, n, nt_count_fn));
    REFUSED(neap_add_writer(t->loop, 0, no_call, n, nt_count_fn));
    REFUSED(neap_chan_send_ptr(t->chan, &tag, n, nt_count_fn, NULL));
    REFUSED(neap_chan_put_ptr(t->chan, 0, &tag, n, nt_count_fn, NULL));
    REFUSED(neap_signal_watch(t->loop, SIGUSR1, 0, no_signal_call, n, nt_count_fn, NULL));
    REFUSED(neap_loop_on_shutdown(t->loop, no_call, n, nt_count_fn, NULL));
    REFUSED(neap_server_on_connection(t->server, no_connection_call, n, nt_count_fn));
    REFUSED(neap_stream_start(t->stream, &no_callbacks, n, nt_count_fn));
    return 26;
}

static void refuse_loop_calls(struct things *t) {
    neap_completion event;
    neap_metrics metrics;
    neap_limits limits = {.size = sizeof limits, .ticks = 1};
    neap_handle *handle;
    neap_future *future;
    int64_t i64;
    void *ptr;
    static const char tag;
    REFUSED(neap_loop_close(t->loop, 0));
    REFUSED(neap_loop_run(t->loop));
    REFUSED(neap_loop_run_until(t->loop, t->future));
    REFUSED(neap_loop_run_within(t->loop, t->future, &limits));
    REFUSED(neap_loop_run_once(t->loop, 0));
    REFUSED(neap_loop_stop(t->loop));
    REFUSED(neap_loop_raise(t->loop, 1));
    REFUSED(neap_loop_shutdown(t->loop, 0));
    REFUSED(neap_loop_shutdown_with(t->loop, NULL));
    REFUSED(neap_loop_begin_shutdown(t->loop, NULL));
    REFUSED(neap_loop_shutting_down(t->loop));
    REFUSED(neap_loop_shutdown_begun(t->loop, &future));
    REFUSED(neap_loop_spend(t->loop, 1));
    REFUSED(neap_loop_time(t->loop));
    REFUSED(neap_loop_update_time(t->loop));
    REFUSED(neap_loop_advance(t->loop, 1));
    REFUSED(neap_loop_hold(t->loop));
    REFUSED(neap_loop_release(t->loop));
    REFUSED(neap_loop_alive(t->loop));
    REFUSED(neap_loop_fd(t->loop));
    REFUSED(neap_loop_next_deadline(t->loop, &i64));
    REFUSED(neap_loop_prepare(t->loop, &i64));
    REFUSED(neap_loop_wait(t->loop, 0));
    REFUSED(neap_loop_dispatch(t->loop, 0));
    REFUSED(neap_loop_next_ready(t->loop, &handle));
    REFUSED(neap_handle_run(t->handle));
    REFUSED(neap_loop_poll_completions(t->loop, &event, sizeof event, 1, 0));
    REFUSED(neap_loop_fail(t->loop, NEAP_EPIPE, NULL, NULL, NULL));
    REFUSED(neap_loop_debug(t->loop, 1));
    REFUSED(neap_loop_set_slow(t->loop, 1));
    REFUSED(neap_loop_metrics(t->loop, &metrics, sizeof metrics));
    REFUSED(neap_handle_reset(t->handle, 1));
    REFUSED(neap_handle_cancel(t->handle));
    REFUSED(neap_handle_cancelled(t->handle));
    REFUSED(neap_handle_when(t->handle));
    REFUSED(neap_handle_set_name(t->handle, "x"));
    REFUSED(neap_handle_describe(t->handle, NULL, 0));
    REFUSED(neap_sleep(t->loop, 1, &future));
    REFUSED(neap_wait_all_blocked(t->loop, 0, &future));
    REFUSED(neap_gather(t->loop, &t->future, 1, 0, &future));
    REFUSED(neap_wait(t->loop, &t->future, 1, 0, -1, &future));
    REFUSED(neap_select(t->loop, &t->future, 1, &future));
    REFUSED(neap_wait_for(t->future, 1, &future));
    REFUSED(neap_shield(t->future, &future));
    REFUSED(neap_task_walk(t->loop, no_walk, NULL));
    REFUSED(neap_loop_write_tree(t->loop, 0, no_write, NULL));
    REFUSED(neap_task_explain(t->task, no_write, NULL));
    REFUSED(neap_task_describe_wait(t->task, NULL, 0));
    REFUSED(neap_local_get(t->loop, &tag, &ptr));
}

static void refuse_future_calls(struct things *t) {
    static const char tag;
    neap_future *future;
    neap_sock *sock;
    neap_addr addr;
    const void *data;
    size_t len;
    int64_t i64;
    double d;
    int32_t i32;
    void *ptr;
    REFUSED(neap_future_new(t->loop, &future));
    REFUSED(neap_future_state(t->future));
    REFUSED(neap_future_done(t->future));
    REFUSED(neap_future_set_none(t->future));
    REFUSED(neap_future_set_int(t->future, 1));
    REFUSED(neap_future_set_double(t->future, 1));
    REFUSED(neap_future_set_bool(t->future, 1));
    REFUSED(neap_future_set_bytes(t->future, "x", 1));
    REFUSED(neap_future_set_error(t->future, NEAP_EPIPE, NULL));
    REFUSED(neap_future_kind(t->future));
    REFUSED(neap_future_get_int(t->future, &i64));
    REFUSED(neap_future_get_double(t->future, &d));
    REFUSED(neap_future_get_bool(t->future, &i32));
    REFUSED(neap_future_get_bytes(t->future, &data, &len));
    REFUSED(neap_future_get_ptr(t->future, &tag, &ptr));
    REFUSED(neap_future_take_sock(t->future, &sock));
    REFUSED(neap_future_get_addr(t->future, &addr));
    REFUSED(neap_future_list_count(t->future));
    REFUSED(neap_future_error(t->future));
    REFUSED(neap_future_partial(t->future));
    REFUSED(neap_future_cancel(t->future, NULL));
    REFUSED(neap_future_remove_done(t->future, no_future_call, NULL));
    REFUSED(neap_future_waiters(t->future));
    REFUSED(neap_future_ignore(t->future));
    REFUSED(neap_future_set_site(t->future, "x"));
    REFUSED(neap_task_await(t->task, t->future));
    REFUSED(neap_task_answer(t->task, NEAP_STEP_DONE));
    REFUSED(neap_task_cancel(t->task, NULL));
    REFUSED(neap_task_abort(t->task));
    REFUSED(neap_task_set_name(t->task, "x"));
    REFUSED(neap_task_describe(t->task, NULL, 0));
}

static void refuse_server_calls(struct things *t) {
    neap_addr addr;
    neap_server *server;
    neap_sock *sock;
    neap_future *future;
    neap_server_metrics metrics;
    assert_ok(neap_addr_parse("127.0.0.1:0", &addr));
    REFUSED(neap_server_new(t->loop, &addr, 1, NULL, &server, NULL));
    REFUSED(neap_server_add(t->server, t->sock));
    REFUSED(neap_server_accept(t->server, 0, &sock, NULL, &future));
    REFUSED(neap_server_pause(t->server));
    REFUSED(neap_server_resume(t->server));
    REFUSED(neap_server_serve_by(t->server, t->sock, t->task));
    REFUSED(neap_server_walk(t->server, no_connection_walk, NULL));
    REFUSED(neap_server_get_metrics(t->server, &metrics, sizeof metrics));
    REFUSED(neap_server_state(t->server));
    REFUSED(neap_server_close(t->server, NULL));
    REFUSED(neap_server_abort(t->server));
    REFUSED(neap_server_closed(t->server, &future));
}

static void refuse_sock_calls(struct things *t) {
    neap_future *future;
    neap_sock *sock;
    neap_sock *other;
    neap_addr addr;
    neap_addr group;
    const void *lent;
    char buf[4] = "abc";
    int32_t i32;
    neap_listeners *listeners;
    neap_addr_parse("127.0.0.1:1", &addr);
    assert_ok(neap_listeners_new(NULL, 1, &listeners));
    REFUSED(neap_loop_set_listeners(t->loop, listeners, 0));
    neap_listeners_unref(listeners);
    neap_msg msg = {.data = buf, .cap = 1, .len = 1};
    neap_fds fds = {.size = sizeof fds};
    neap_credentials who;
    neap_addr_parse("127.0.0.1:1", &addr);
    neap_addr_parse("239.1.2.3:1", &group);
    REFUSED(neap_sock_new(t->loop, NEAP_TCP, NEAP_AF_INET, &sock));
    REFUSED(neap_sock_adopt(t->loop, 0, &sock));
    REFUSED(neap_sock_pair(t->loop, NEAP_UNIX, &sock, &other));
    REFUSED(neap_sock_close(t->sock));
    REFUSED(neap_sock_fd(t->sock));
    REFUSED(neap_sock_bind(t->sock, &addr));
    REFUSED(neap_sock_listen(t->sock, 0));
    REFUSED(neap_sock_accept(t->sock, 0, &sock, NULL, &future));
    REFUSED(neap_sock_connect(t->sock, &addr, 0, &future));
    REFUSED(neap_sock_recv(t->sock, buf, 1, 0, &future));
    REFUSED(neap_sock_recv_lent(t->sock, 1, 0, &lent, &future));
    REFUSED(neap_sock_recvfrom(t->sock, buf, 1, 0, &addr, &future));
    REFUSED(neap_sock_recvfrom_lent(t->sock, 1, 0, &lent, &addr, &future));
    REFUSED(neap_sock_unrecv(t->sock, buf, 1));
    REFUSED(neap_sock_send(t->sock, buf, 1, 0, &future));
    REFUSED(neap_sock_sendall(t->sock, buf, 1, 0, &future));
    REFUSED(neap_sock_sendto(t->sock, buf, 1, NULL, 0, &future));
    REFUSED(neap_sock_recv_many(t->sock, &msg, sizeof msg, 1, 0, &future));
    REFUSED(neap_sock_send_many(t->sock, &msg, sizeof msg, 1, 0, &future));
    REFUSED(neap_sock_recv_fds(t->sock, buf, 1, &fds, 0, &future));
    REFUSED(neap_sock_send_fds(t->sock, buf, 1, NULL, 0, 0, &future));
    REFUSED(neap_future_take_fds(t->future, &fds));
    REFUSED(neap_sock_join(t->sock, &group, NULL, NULL));
    REFUSED(neap_sock_leave(t->sock, &group, NULL, NULL));
    REFUSED(neap_sock_multicast_via(t->sock, NULL));
    REFUSED(neap_sock_peer_credentials(t->sock, &who, sizeof who));
    REFUSED(neap_sock_shutdown(t->sock, NEAP_SHUT_WR));
    REFUSED(neap_sock_local(t->sock, &addr));
    REFUSED(neap_sock_peer(t->sock, &addr));
    REFUSED(neap_sock_set_option(t->sock, "sndbuf", 1));
    REFUSED(neap_sock_get_option(t->sock, "sndbuf", &i32));
    REFUSED(neap_remove_reader(t->loop, 0));
    REFUSED(neap_remove_writer(t->loop, 0));
    REFUSED(neap_fd_ready(t->loop, 0, NEAP_READ, 0, &future));
}

static void refuse_name_calls(struct things *t) {
    neap_addrs *addrs;
    neap_future *future;
    neap_addr addr;
    neap_addr_parse("127.0.0.1:1", &addr);
    REFUSED(neap_getaddrinfo(t->loop, "localhost", NULL, 0, 0, &addrs, &future));
    REFUSED(neap_getnameinfo(t->loop, &addr, &future));
    REFUSED(neap_future_get_addrs(t->future, &addrs));
    REFUSED(neap_loop_set_resolver(t->loop, NULL));
    REFUSED(neap_connect(t->loop, "localhost:1", NULL, &future));
    REFUSED(neap_future_tried(t->future, 0, &addr, &t->expected));
}

static int64_t no_job(neap_job *job, void *user) {
    (void)job;
    no_call(user);
    return 0;
}

static int refuse_pool_calls(struct things *t) {
    neap_pool *pool;
    neap_future *future;
    REFUSED(neap_loop_pool(t->loop, NEAP_POOL_USER, &pool));
    REFUSED(neap_loop_set_pool(t->loop, NEAP_POOL_USER, NULL));
    REFUSED(neap_pool_closed(t->pool, t->loop, &future));
    REFUSED(neap_pool_submit(t->pool, t->loop, no_job, &t->destroyed, nt_count_fn, NULL, &future));
    return 1;
}

static void refuse_stream_calls(struct things *t) {
    static const neap_iov line = {"\n", 1};
    neap_stream *s = t->stream, *other;
    neap_future *future;
    const void *lent;
    neap_addr addr;
    REFUSED(neap_stream_new(t->sock, &other));
    REFUSED(neap_stream_open(t->loop, 0, NEAP_STREAM_SHARED, &other));
    REFUSED(neap_stream_pair(t->loop, &other, &other));
    REFUSED(neap_stream_read(s, 1, 0, &lent, &future));
    REFUSED(neap_stream_read_exactly(s, 1, 0, &lent, &future));
    REFUSED(neap_stream_read_until(s, &line, 1, 1, 0, &lent, &future));
    REFUSED(neap_stream_read_all(s, 1, 0, &lent, &future));
    REFUSED(neap_stream_fill(s, 1, 0, &future));
    REFUSED(neap_stream_peek(s, &lent));
    REFUSED(neap_stream_consume(s, 0));
    REFUSED(neap_stream_unread(s, "x", 1));
    REFUSED(neap_stream_at_end(s));
    REFUSED(neap_stream_peer(s, &addr));
    REFUSED(neap_stream_write(s, "x", 1, 0, &future));
    REFUSED(neap_stream_writev(s, &line, 1, 0, &future));
    REFUSED(neap_stream_sendfile(s, 0, 0, 1, 0, &future));
    REFUSED(neap_stream_drain(s, 0, &future));
    REFUSED(neap_stream_write_eof(s, 0, &future));
    REFUSED(neap_stream_set_marks(s, 1, 2));
    REFUSED(neap_stream_unsent(s));
    REFUSED(neap_stream_close(s, 0, &future));
    REFUSED(neap_stream_abort(s));
    REFUSED(neap_stream_stop(s));
    REFUSED(neap_stream_pause(s));
    REFUSED(neap_stream_resume(s));
}

static void refuse_scope_calls(struct things *t) {
    neap_scope *scope;
    neap_future *future;
    int64_t when;
    REFUSED(neap_scope_new(t->loop, NULL, 0, &scope));
    REFUSED(neap_scope_enter(t->scope, t->task));
    REFUSED(neap_scope_leave(t->scope, t->task));
    REFUSED(neap_scope_cancel(t->scope, NULL));
    REFUSED(neap_scope_set_deadline(t->scope, 0));
    REFUSED(neap_scope_deadline(t->scope, &when));
    REFUSED(neap_scope_cancelled(t->scope));
    REFUSED(neap_scope_state(t->scope));
    REFUSED(neap_scope_members(t->scope));
    REFUSED(neap_scope_flags(t->scope));
    REFUSED(neap_scope_join(t->scope, &future));
    REFUSED(neap_scope_next_failure(t->scope, &future));
}

static void refuse_sync_calls(struct things *t) {
    neap_lock *lock;
    neap_sem *sem;
    neap_event *event;
    neap_cond *cond;
    neap_barrier *barrier;
    neap_limiter *limiter;
    neap_chan *chan;
    neap_future *future;
    neap_value value;
    REFUSED(neap_future_value(t->future, &value, sizeof value));
    REFUSED(neap_lock_new(t->loop, &lock));
    REFUSED(neap_lock_acquire(t->lock, NULL));
    REFUSED(neap_lock_release(t->lock));
    REFUSED(neap_sem_new(t->loop, 1, &sem));
    REFUSED(neap_sem_acquire(t->sem, NULL));
    REFUSED(neap_sem_release(t->sem));
    REFUSED(neap_sem_permits(t->sem));
    REFUSED(neap_event_new(t->loop, &event));
    REFUSED(neap_event_set(t->event));
    REFUSED(neap_event_clear(t->event));
    REFUSED(neap_event_is_set(t->event));
    REFUSED(neap_event_wait(t->event, NULL));
    REFUSED(neap_cond_new(t->lock, &cond));
    REFUSED(neap_cond_wait(t->cond, &future));
    REFUSED(neap_cond_notify(t->cond, 1));
    REFUSED(neap_barrier_new(t->loop, 1, &barrier));
    REFUSED(neap_barrier_wait(t->barrier, NULL));
    REFUSED(neap_barrier_close(t->barrier));
    REFUSED(neap_barrier_waiting(t->barrier));
    REFUSED(neap_limiter_new(t->loop, 1, &limiter));
    REFUSED(neap_limiter_acquire(t->limiter, NULL));
    REFUSED(neap_limiter_release(t->limiter));
    REFUSED(neap_limiter_set_total(t->limiter, 1));
    REFUSED(neap_limiter_total(t->limiter));
    REFUSED(neap_limiter_borrowed(t->limiter));
    REFUSED(neap_chan_new(t->loop, 1, &chan));
    REFUSED(neap_chan_new_ordered(t->loop, 1, &chan));
    REFUSED(neap_chan_put_int(t->chan, 0, 1, NULL));
    REFUSED(neap_chan_send_int(t->chan, 1, NULL));
    REFUSED(neap_chan_recv(t->chan, &value, sizeof value, NULL));
    REFUSED(neap_chan_task_done(t->chan));
    REFUSED(neap_chan_join(t->chan, NULL));
    REFUSED(neap_chan_close(t->chan));
    REFUSED(neap_chan_is_closed(t->chan));
    REFUSED(neap_chan_len(t->chan));
}

static void refuse_process_calls(struct things *t) {
    neap_process_options o = {.size = sizeof o, .args = (const char *const[]){"/bin/true", NULL}};
    neap_process *process;
    neap_process_status status;
    REFUSED(neap_process_spawn(t->loop, &o, &process));
    REFUSED(neap_process_take_fd(t->process, 1));
    REFUSED(neap_process_wait(t->process, NULL));
    REFUSED(neap_process_get_status(t->process, &status, sizeof status));
    REFUSED(neap_process_kill(t->process, SIGTERM));
    REFUSED(neap_process_kill_group(t->process, SIGTERM));
}

static void refuse_file_calls(struct things *t) {
    neap_future *future;
    neap_buf *buf;
    neap_file *file;
    neap_stat st;
    neap_dir_entry entry;
    neap_fs_watch *watch;
    neap_fs_event event;
    size_t cursor = 0;
    int64_t at;
    REFUSED(neap_file_open(t->loop, "/", 1, NEAP_OPEN_READ, 0, &future));
    REFUSED(neap_file_adopt(t->loop, 0, &file));
    REFUSED(neap_file_close(t->file, &future));
    REFUSED(neap_file_fd(t->file));
    REFUSED(neap_file_read(t->file, 1, 0, &buf, &future));
    REFUSED(neap_file_pread(t->file, 0, 1, 0, &buf, &future));
    REFUSED(neap_file_write(t->file, "x", 1, &future));
    REFUSED(neap_file_pwrite(t->file, 0, "x", 1, &future));
    REFUSED(neap_file_seek(t->file, 0, NEAP_SEEK_SET, &at, &future));
    REFUSED(neap_file_stat(t->file, &future));
    REFUSED(neap_file_sync(t->file, 0, &future));
    REFUSED(neap_file_truncate(t->file, 0, &future));
    REFUSED(neap_future_take_file(t->future, &file));
    REFUSED(neap_future_get_stat(t->future, &st, sizeof st));
    REFUSED(neap_future_get_entry(t->future, &cursor, &entry, sizeof entry));
    REFUSED(neap_fs_stat(t->loop, "/", 1, 0, &future));
    REFUSED(neap_fs_read(t->loop, "/", 1, &future));
    REFUSED(neap_fs_write(t->loop, "/", 1, "x", 1, 0, 0, &future));
    REFUSED(neap_fs_replace(t->loop, "/", 1, "x", 1, 0, &future));
    REFUSED(neap_fs_copy(t->loop, "/", 1, "/", 1, 0, &future));
    REFUSED(neap_fs_rename(t->loop, "/", 1, "/", 1, 0, &future));
    REFUSED(neap_fs_unlink(t->loop, "/", 1, &future));
    REFUSED(neap_fs_mkdir(t->loop, "/", 1, 0, 0, &future));
    REFUSED(neap_fs_rmdir(t->loop, "/", 1, &future));
    REFUSED(neap_fs_symlink(t->loop, "/", 1, "/", 1, &future));
    REFUSED(neap_fs_link(t->loop, "/", 1, "/", 1, &future));
    REFUSED(neap_fs_readlink(t->loop, "/", 1, &future));
    REFUSED(neap_fs_realpath(t->loop, "/", 1, &future));
    REFUSED(neap_fs_chmod(t->loop, "/", 1, 0, &future));
    REFUSED(neap_fs_utimes(t->loop, "/", 1, 0, 0, 0, &future));
    REFUSED(neap_fs_truncate(t->loop, "/", 1, 0, &future));
    REFUSED(neap_fs_mkstemp(t->loop, "/", 1, &future));
    REFUSED(neap_fs_mkdtemp(t->loop, "/", 1, &future));
    REFUSED(neap_fs_readdir(t->loop, "/", 1, 0, &future));
    REFUSED(neap_fs_watch_new(t->loop, &watch));
    REFUSED(neap_fs_watch_add(t->watch, "/", 1));
    REFUSED(neap_fs_watch_remove(t->watch, 1));
    REFUSED(neap_fs_watch_next(t->watch, &event, sizeof event, &future));
    REFUSED(neap_fs_watch_close(t->watch));
}

/* Functions that answer a pointer or a count have no room for a code: they must do no harm. */
static void harmless_calls(struct things *t) {
    static const char tag;
    (void)neap_loop_get_data(t->loop, &tag);
    (void)neap_loop_resolver(t->loop);
    (void)neap_future_list_get(t->future, 0);
    (void)neap_future_message(t->future);
    (void)neap_future_exception(t->future, &tag);
    (void)neap_future_site(t->future);
    (void)neap_task_cancel_message(t->task);
    (void)neap_task_current(t->loop);
    (void)neap_task_awaiting(t->task);
    (void)neap_task_user(t->task);
    (void)neap_task_name(t->task);
    (void)neap_task_site(t->task);
    (void)neap_task_steps(t->task);
    (void)neap_task_step_time(t->task);
    (void)neap_task_waiting_since(t->task);
    (void)neap_task_waits_for(t->task);
    (void)neap_task_group(t->task);
    (void)neap_task_parent(t->task);
    (void)neap_task_cancelled_by(t->task);
    (void)neap_scope_owner(t->scope);
    (void)neap_scope_parent(t->scope);
    (void)neap_lock_holder(t->lock);
    (void)neap_server_loop(t->server);
    (void)neap_server_listener(t->server, 0);
    (void)neap_server_scope(t->server);
}

int refuse_all(struct things *t) {
    int taken = refuse_taking_calls(t);
    refuse_loop_calls(t);
    refuse_future_calls(t);
    refuse_sock_calls(t);
    refuse_stream_calls(t);
    refuse_name_calls(t);
    refuse_file_calls(t);
    refuse_scope_calls(t);
    refuse_sync_calls(t);
    taken += refuse_pool_calls(t);
    refuse_server_calls(t);
    refuse_process_calls(t);
    harmless_calls(t);
    return taken;
}

void make_things(struct things *t, nt_script *script, int32_t expected) {
    static nt_act acts[3];
    neap_sock *other = NULL;
    neap_stream *second = NULL;
    neap_process_options o = {.size = sizeof o,
                              .args = (const char *const[]){"/bin/sleep", "1000", NULL},
                              .flags = NEAP_PROCESS_KILL};
    memset(t, 0, sizeof *t);
    t->loop = nt.loop;
    t->expected = expected;
    t->handle = nt_later_handle(3600 * NT_SEC, "timer");
    t->future = nt_future();
    acts[0] = (nt_act)NT_AWAIT(t->future);
    acts[1] = (nt_act)NT_PASS;
    t->task = nt_spawn(script, "t", acts);
    nt_turn();
    assert_ok(neap_sock_pair(nt.loop, NEAP_UNIX, &t->sock, &other));
    neap_sock_unref(other);
    assert_ok(neap_stream_pair(nt.loop, &t->stream, &second));
    neap_stream_unref(second);
    nt.closes_late = 1;
    assert_ok(neap_fs_watch_new(nt.loop, &t->watch));
    assert_ok(neap_file_adopt(nt.loop, open("/dev/null", O_RDWR | O_CLOEXEC), &t->file));
    assert_ok(neap_scope_new(nt.loop, NULL, 0, &t->scope));
    assert_ok(neap_lock_new(nt.loop, &t->lock));
    assert_ok(neap_sem_new(nt.loop, 1, &t->sem));
    assert_ok(neap_event_new(nt.loop, &t->event));
    assert_ok(neap_cond_new(t->lock, &t->cond));
    assert_ok(neap_barrier_new(nt.loop, 1, &t->barrier));
    assert_ok(neap_limiter_new(nt.loop, 1, &t->limiter));
    assert_ok(neap_chan_new(nt.loop, 1, &t->chan));
    assert_ok(neap_loop_pool(nt.loop, NEAP_POOL_USER, &t->pool));
    assert_ok(neap_server_new(nt.loop, NULL, 0, NULL, &t->server, NULL));
    assert_int_equal(neap_server_abort(t->server), 1); /* an open one would hold itself */
    nt_turn();
    assert_ok(neap_process_spawn(nt.loop, &o, &t->process));
}

void unref_things(struct things *t) {
    neap_handle_unref(t->handle);
    neap_future_unref(t->future);
    neap_task_unref(t->task);
    neap_sock_unref(t->sock);
    neap_stream_unref(t->stream);
    neap_file_unref(t->file);
    neap_fs_watch_unref(t->watch);
    neap_scope_unref(t->scope);
    neap_lock_unref(t->lock);
    neap_sem_unref(t->sem);
    neap_event_unref(t->event);
    neap_cond_unref(t->cond);
    neap_barrier_unref(t->barrier);
    neap_limiter_unref(t->limiter);
    neap_chan_unref(t->chan);
    neap_pool_unref(t->pool);
    neap_server_unref(t->server);
    neap_process_unref(t->process);
}

void drop_things(struct things *t) {
    neap_handle_cancel(t->handle);
    unref_things(t);
    while (nt_metrics().operations > 0) /* the process dies */
        assert_true(neap_loop_run_once(nt.loop, NT_SEC) >= 0);
}
