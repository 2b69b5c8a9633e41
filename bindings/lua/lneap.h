/* lneap.h: what the files of the Lua binding call of each other. */
#ifndef NEAP_LNEAP_H
#define NEAP_LNEAP_H

#include "lstate.h"

/* Of functions that tell of failures: what leads there is laid out beside what usually runs. */
#define NL_COLD __attribute__((cold))

/* lneap.c: the record, anchors, entering Lua */
nl_state *nl_state_of(lua_State *L);
nl_state *nl_find_state(lua_State *L); /* NULL: neap was not loaded */
int nl_anchor(lua_State *L, nl_state *st);
void nl_unanchor(nl_state *st, int ref);
void nl_anchored(lua_State *L, int ref);
void nl_class(lua_State *L, nl_state *st, nl_kind kind, const char *name, const luaL_Reg *methods,
              const luaL_Reg *waits, const luaL_Reg *metas);
void nl_functions(lua_State *L, nl_state *st, const luaL_Reg *functions);
void nl_waits(lua_State *L, nl_state *st, const luaL_Reg *functions);
void nl_setmeta(lua_State *L, nl_state *st, nl_kind kind);
typedef void (*nl_body)(lua_State *L, nl_state *st, void *arg);
int nl_enter(nl_state *st, nl_body body, void *arg);
void nl_call_in(nl_state *st, neap_loop *loop, nl_body body, void *arg);
void *nl_alloc(lua_State *L, size_t size);
void *nl_alloc_with(lua_State *L, nl_state *st, size_t size, int ref);
nl_life *nl_life_ref(nl_state *st);
void nl_life_unref(nl_life *life);
void nl_closing(nl_state *st);
int nl_is_bound(const nl_bound *b);
neap_loop *nl_bind(lua_State *L, nl_state *st, nl_bound *b);
void nl_unbind(nl_bound *b);
void nl_loop_drop(nl_loop *l);
void nl_tidy(nl_state *st);
void nl_give_back(nl_state *st);
int64_t nl_seconds(lua_State *L, int index);
lua_Integer nl_count(lua_State *L, nl_state *st, int index, lua_Integer otherwise,
                     const char *what);

/* lnode.c: our userdata and their finalizers */
/* The block of what is nil or known to be a userdata of ours; NULL if there is none. */
static inline void *nl_block(lua_State *L, int index) {
    nl_box *box = lua_touserdata(L, index);
    return box != NULL ? box->node : NULL;
}

/* What is in a userdata of ours, or NULL: no userdata, another's, or finalized.  A light userdata has no length. */
static inline nl_node *nl_node_at(lua_State *L, nl_state *st, int index) {
    nl_box *box = lua_touserdata(L, index);
    int ours = box != NULL && lua_rawlen(L, index) >= sizeof *box && box->st == st;
    return ours && st->life != NULL ? box->node : NULL;
}

/* The block of a userdata of this kind, or NULL. */
static inline void *nl_test(lua_State *L, nl_state *st, int index, nl_kind kind) {
    nl_node *node = nl_node_at(L, st, index);
    return node != NULL && node->kind == kind ? node : NULL;
}

void *nl_check(lua_State *L, nl_state *st, int index, nl_kind kind, const char *what);
void nl_refuse(lua_State *L, nl_state *st, int index, const char *what) NL_COLD;
void *nl_make(lua_State *L, nl_state *st, nl_kind kind, size_t size, int slots);
void nl_track(nl_node *node);
void nl_untrack(nl_node *node);
void *nl_finalized(lua_State *L);
void nl_drop(lua_State *L, nl_node *node);
int nl_gc(lua_State *L);
void nl_end_nodes(nl_state *st);
void nl_free_blocks(nl_state *st);

/* lerror.c */
void nl_push_error(lua_State *L, nl_state *st, int32_t code, const char *message) NL_COLD;
int nl_throw(lua_State *L, nl_state *st, int32_t code, const char *format, ...) NL_COLD;
int nl_throw_code(lua_State *L, nl_state *st, int32_t code) NL_COLD;
void nl_check_code(lua_State *L, nl_state *st, int64_t code);
int nl_arg_error(lua_State *L, nl_state *st, int arg, int32_t code, const char *text) NL_COLD;
int nl_type_error(lua_State *L, nl_state *st, int arg, const char *expected) NL_COLD;
int nl_fail(lua_State *L, nl_state *st, int32_t code, const char *op, const char *address) NL_COLD;
void nl_push_cancelled(lua_State *L, nl_state *st, const char *message);
int nl_is_cancelled(lua_State *L, nl_state *st, int index);
int nl_is_error(lua_State *L, nl_state *st, int index);
int32_t nl_error_code(lua_State *L, nl_state *st, int index);
const char *nl_error_text(lua_State *L, nl_state *st, int index);
void nl_set_where(lua_State *L, int error);
int nl_is_wrapper(const lua_Debug *ar);
const char *nl_site(lua_State *L, char *buf, size_t cap);
void nl_open_error(lua_State *L, nl_state *st);

/* lvalue.c: Lua values in and out of futures */
int nl_settle_plain(lua_State *L, neap_future *future, int index, int32_t *ret_code);
int32_t nl_settle(lua_State *L, nl_state *st, nl_object *o, int ud, int first, int n);
int32_t nl_settle_error(lua_State *L, nl_state *st, int ud, int error);
int nl_push_value(lua_State *L, nl_state *st, neap_future *future, int ud, int32_t kind,
                  const neap_value *value);
int nl_push_outcome(lua_State *L, nl_state *st, neap_future *future, int ud);
int nl_push_own_outcome(lua_State *L, nl_state *st, int ud);
int nl_push_result(lua_State *L, nl_state *st, int ud);
int32_t nl_settle_again(lua_State *L, nl_state *st, nl_object *o, int ud, neap_future *future);
void nl_push_failure(lua_State *L, nl_state *st, neap_future *future, int ud);
void nl_add_wait_of(lua_State *L, nl_state *st, int ud);
void *nl_new_cell(lua_State *L, nl_state *st, int form);
void nl_push_cell(lua_State *L, const void *cell);
void nl_cell_gone(void *cell);
void nl_pack(lua_State *L, int first, int n);
int nl_unpack(lua_State *L, int index);

/* lfuture.c, ldone.c */
nl_object *nl_new_object(lua_State *L, nl_state *st);
nl_object *nl_new_future(lua_State *L, nl_state *st, nl_loop *loop);
nl_object *nl_to_object(lua_State *L, nl_state *st, int index);
nl_object *nl_check_object(lua_State *L, nl_state *st, int index);
neap_future *nl_check_future(lua_State *L, nl_state *st, int index);
int32_t nl_state_of_object(const nl_object *o);
void nl_hold(lua_State *L, nl_object *o, int ud);
void nl_release(nl_object *o);
void nl_note_failure(lua_State *L, nl_object *o, int ud);
void nl_drop_failures(nl_state *st);
void nl_push_object(lua_State *L, nl_state *st, neap_future *future);
void nl_reach(lua_State *L, nl_object *o, int ud);
void nl_object_class(lua_State *L, nl_state *st, nl_kind kind, const char *name,
                     const luaL_Reg *metas);
void nl_share(lua_State *L, nl_state *st, int ud);
void nl_ensure(lua_State *L, nl_state *st, nl_loop *loop, int index);
void nl_check_ensure(lua_State *L, nl_state *st, int index);
int nl_add_done_callback(lua_State *L);
int nl_remove_done_callback(lua_State *L);
void nl_forget_callbacks(nl_object *o);
void nl_open_future(lua_State *L, nl_state *st);

/* ltask.c, lstep.c, lthread.c */
extern const neap_task_ops nl_task_ops;
void nl_write_site(neap_task *task, void *user, char *buf, size_t cap);
typedef struct nl_spawning {
    const char *name;
    int owns;          /* stack index, or 0 */
    neap_scope *scope; /* whose member it becomes, or NULL: see neap.h */
    int64_t slice;     /* how long a step may last in ns, plus 1; 0: as long as it likes */
    uint32_t flags;    /* NEAP_TASK_* */
} nl_spawning;
nl_task *nl_spawn(lua_State *L, nl_state *st, nl_loop *loop, int first, const nl_spawning *how);
int nl_is_callable(lua_State *L, int index);
int nl_has_await(lua_State *L, int index);
void nl_check_body(lua_State *L, nl_state *st, int index);
void nl_push_task(lua_State *L, nl_state *st, neap_task *task);
void nl_bury(nl_state *st);
void nl_push_notes(lua_State *L, int ud);
int nl_spawn_call(lua_State *L, nl_state *st, nl_loop *loop, int at);
int nl_spawn_into(lua_State *L, nl_state *st, neap_scope *scope, int at);
int nl_expand_options(lua_State *L, nl_state *st, int at, int reserve);
int nl_is_wait(nl_state *st, int nres);
void nl_thread_take(lua_State *L, nl_state *st, nl_task *t);
void nl_thread_give(nl_task *t, int reusable);
void nl_record_failure(lua_State *L, nl_task *t, lua_State *at, int level, int error);
void nl_renote_death(lua_State *L, nl_state *st);
void nl_note_death(lua_State *L, nl_state *st, lua_State *co);
void nl_note_cause(lua_State *L, nl_state *st, int source, int error);
int nl_trace_failure(lua_State *L);
int nl_keep_trace(lua_State *L);
int nl_trace_here(lua_State *L);
int nl_thread_owned(lua_State *L, nl_state *st, int index);
void nl_thread_own(lua_State *L, nl_state *st, int index);
void nl_push_stack(lua_State *L, lua_State *co);
void nl_open_task(lua_State *L, nl_state *st);

/* loption.c */
void nl_check_options(lua_State *L, nl_state *st, int at, const char *const *names);
int nl_has_options(lua_State *L, nl_state *st, int at, const char *const *names);
const char *nl_push_text_option(lua_State *L, nl_state *st, int at, const char *name);
int32_t nl_count_option(lua_State *L, nl_state *st, int at, const char *name, int32_t least,
                        int32_t most);

/* lkeeper.c */
void nl_keep(lua_State *L, nl_task *t, neap_future *future, int ud);
int nl_is_kept(lua_State *L, int ud);
void nl_revive(lua_State *L, nl_state *st, int ud);

/* ltree.c */
enum {
    NL_FRAMES_SHOWN = 200 /* of a stack */
};
void nl_write_where(neap_task *task, void *user, char *buf, size_t cap);
void nl_write_stack(neap_task *task, void *user, neap_write_fn write, void *to);
extern const luaL_Reg nl_tree_methods[];
void nl_open_tree(lua_State *L, nl_state *st);

/* lcontrol.c */
int nl_control_wanted(void);
void nl_control_start(lua_State *L, nl_state *st, nl_loop *l);
void nl_open_control(lua_State *L, nl_state *st);

/* lworker.c, lworkers.c, ltrace.c: many cores */
void nl_worker_begins(lua_State *L, nl_state *st, nl_loop *l, neap_future *main);
void nl_worker_ends(nl_worker *w);
void nl_open_workers(lua_State *L, nl_state *st);
void nl_push_metrics(lua_State *L, const neap_metrics *m);

/* lpark.c: suspending */
void nl_check_chain(lua_State *L, nl_state *st);
int nl_can_wait(lua_State *L, const nl_state *st);
void nl_take_off(lua_State *L, nl_state *st);
void nl_note_spent(nl_task *t);
int nl_park(lua_State *L, nl_state *st, neap_future *future, int owned, nl_cont k);
int nl_park_tick(lua_State *L, nl_state *st, nl_cont k);
int nl_park_sleep(lua_State *L, nl_state *st, int64_t delay, nl_cont k);
neap_future *nl_woken(lua_State *L, nl_state *st);
void nl_wait_end(nl_task *t);
int nl_raise_of(lua_State *L, nl_state *st, int ud);
int nl_ask_credit(nl_task *t);
int nl_again(lua_State *L, nl_state *st, lua_CFunction fn);
int nl_await(lua_State *L, nl_state *st, int ud);
int nl_raise_next_tick(lua_State *L, nl_state *st);

/* Raises unless the running coroutine and all its resumers up to the task can be suspended.  To be called before an
   operation starts, also when its result may be there already. */
static inline void nl_check_wait(lua_State *L, nl_state *st) {
    const nl_task *t = st->task;
    if (NL_FRAMES_TELL || t == NULL || t->co.L != L || !nl_isyieldable(L, L))
        nl_check_chain(L, st);
}

/* Whether the running step has started so many operations that the others come first. */
static inline int nl_is_spent(nl_state *st) {
    nl_task *t = st->task;
    if (t->credit == 0 && !nl_ask_credit(t))
        return 1;
    t->credit--;
    return 0;
}

/* Bytes that were received but not turned into a string go back to where they came from. */
static inline void nl_takeback(nl_state *st) {
    if (st->lent.len > 0)
        nl_give_back(st);
}

/* lcoro.c, lyield.c */
int nl_yield(lua_State *L);
int nl_is_protected(const nl_state *st, const lua_State *L);
int nl_wrap_call(lua_State *L);
int32_t nl_raw_yield(neap_task *task, nl_task *t, int nres);
void nl_raw_wake(nl_task *t);
extern const luaL_Reg nl_yield_calls[];
void nl_patch(lua_State *L, nl_state *st);
void nl_unpatch(nl_state *st);
void nl_open_coroutine(lua_State *L, nl_state *st);

/* lloop.c, lhandle.c, lwatch.c, ltrace.c */
nl_loop *nl_new_loop(lua_State *L, nl_state *st);
void nl_loop_begin(nl_loop *l, neap_loop *loop);
nl_loop *nl_make_loop(lua_State *L, nl_state *st, int options);
nl_loop *nl_loop_now(lua_State *L, nl_state *st);
nl_loop *nl_find_loop(nl_state *st, neap_loop *loop);
nl_loop *nl_check_loop(lua_State *L, nl_state *st, int index);
void nl_push_loop(lua_State *L, nl_loop *l);
void nl_set_loop(lua_State *L, nl_state *st, nl_loop *l, int ud);
int32_t nl_close_loop(lua_State *L, nl_loop *l, int ud);
void nl_open_loop(lua_State *L, nl_state *st);
void nl_open_handle(lua_State *L, nl_state *st);
extern const luaL_Reg nl_handle_calls[];
extern const luaL_Reg nl_watch_calls[];
extern const luaL_Reg nl_trace_calls[];
extern const luaL_Reg nl_report_calls[];
void nl_trace_stop(nl_loop *l);
neap_fd nl_to_fd(lua_State *L, nl_state *st, int index);
nl_handle *nl_new_handle(lua_State *L, nl_state *st, neap_loop *loop, int first);
void nl_forget_recent(nl_state *st);
void nl_handle_fire(void *user);
void nl_handle_gone(void *user);

/* lreport.c */
void nl_report(neap_loop *loop, const neap_report *report, void *user);
void nl_hook_reports(nl_loop *l);

/* lsock.c, lsockio.c, lsockmsg.c, lfd.c, laddr.c */
nl_sock *nl_new_sock(lua_State *L, nl_state *st);
nl_sock *nl_check_sock(lua_State *L, nl_state *st, int index);
int32_t nl_address(lua_State *L, nl_state *st, int index, neap_addr *addr);
void nl_push_address(lua_State *L, const neap_addr *addr);
int nl_answer_ok(lua_State *L, nl_state *st, int32_t code, const char *op, const char *address);
int nl_fail_waited(lua_State *L, nl_state *st, neap_future *future, const char *op);
int nl_send_answer(lua_State *L, nl_state *st, int32_t code, neap_future *future, const char *op);
nl_fd *nl_new_fd(lua_State *L, nl_state *st);
void nl_open_fd(lua_State *L, nl_state *st);
extern const luaL_Reg nl_sock_tries[];
extern const luaL_Reg nl_sock_msgs[];
extern const luaL_Reg nl_sock_msg_waits[];
extern const luaL_Reg nl_sock_waits[];
extern const luaL_Reg nl_sock_futures[];
void nl_open_sock(lua_State *L, nl_state *st);

/* lstream.c, lstreamio.c */
nl_stream *nl_new_stream(lua_State *L, nl_state *st);
void nl_refuse_stream(lua_State *L, nl_state *st, int index) NL_COLD;
/* The stream object at index, whose stream is there. */
static inline nl_stream *nl_check_stream(lua_State *L, nl_state *st, int index) {
    nl_stream *s = nl_test(L, st, index, NL_STREAM);
    if (s == NULL || s->stream == NULL)
        nl_refuse_stream(L, st, index);
    return s;
}
size_t nl_limit(lua_State *L, nl_state *st, int index, size_t otherwise);
int nl_stream_close(lua_State *L);
extern const luaL_Reg nl_stream_waits[];
extern const luaL_Reg nl_stream_tries[];
void nl_drain_standard(lua_State *L, nl_loop *l);
void nl_open_stream(lua_State *L, nl_state *st);
/* lnames.c, lconnect.c */
int32_t nl_family(lua_State *L, nl_state *st, int index, const char *what);
int nl_push_addrs(lua_State *L, const neap_addrs *addrs);
extern const luaL_Reg nl_name_futures[];
void nl_open_names(lua_State *L, nl_state *st);
void nl_open_connect(lua_State *L, nl_state *st);

/* lfs.c, lfsresult.c, lfswatch.c */
int64_t nl_offset(lua_State *L, nl_state *st, int index);
int nl_fs_fail(lua_State *L, nl_state *st, int32_t code, const char *op, const char *path,
               const char *to);
int nl_fs_fail_waited(lua_State *L, nl_state *st, neap_future *future, const char *op,
                      const char *path, const char *to);
int nl_fs_push(lua_State *L, neap_future *future);
void nl_open_fs(lua_State *L, nl_state *st);
void nl_open_fs_watch(lua_State *L, nl_state *st);

/* lfile.c, lfileread.c */
nl_file *nl_new_file(lua_State *L, nl_state *st);
nl_file *nl_check_file(lua_State *L, nl_state *st);
const char *nl_file_path(const nl_file *f);
int nl_file_fail(lua_State *L, const nl_file *f, int32_t code, const char *op);
size_t nl_file_size(lua_State *L, nl_state *st, int index);
int nl_file_is_read(const nl_file *f);
void nl_file_give_back(nl_file *f);
void nl_file_end_reading(nl_file *f);
extern const luaL_Reg nl_file_looks[];
extern const luaL_Reg nl_file_reads[];
void nl_open_file(lua_State *L, nl_state *st);

/* lwait.c, lgather.c, llocal.c, lscope.c, llock.c, lsync.c, lchan.c, lshared.c, lselect.c, lrun.c, lshutdown.c, lsignal.c,
   lidle.c, ltesting.c */
void nl_push_members(lua_State *L, nl_state *st, int list, int n, int unique);
neap_future **nl_push_futures(lua_State *L, nl_state *st, int members, int n);
void nl_open_wait(lua_State *L, nl_state *st);
void nl_open_gather(lua_State *L, nl_state *st);
void nl_push_group_error(lua_State *L, nl_state *st, int errors);
void nl_push_delivered(lua_State *L, nl_state *st, nl_task *t, const char *message);
void nl_open_scope(lua_State *L, nl_state *st);
int nl_acquire(lua_State *L, nl_state *st, const nl_case *kind, lua_CFunction again);
int nl_try_acquire(lua_State *L, nl_state *st, const nl_case *kind);
int nl_answer_true(lua_State *L, nl_state *st, int32_t code, const neap_value *value);
void nl_open_lock(lua_State *L, nl_state *st);
void nl_open_sync(lua_State *L, nl_state *st);
void nl_open_chan(lua_State *L, nl_state *st);
size_t nl_capacity(lua_State *L, nl_state *st, int index);
void nl_open_shared(lua_State *L, nl_state *st);
void nl_drop_received(nl_state *st);
neap_shared_chan *nl_to_shared(lua_State *L, nl_state *st, int index);

/* lcopy.c: copies for other states */
typedef struct nl_parcel nl_parcel;
extern const char nl_parcel_tag; /* of a pointer to a parcel */
nl_parcel *nl_parcel_new(void);
void nl_parcel_free(void *parcel);
void nl_parcel_clear(nl_parcel *p);
int nl_parcel_has_channels(const nl_parcel *p);
void nl_pack_values(lua_State *L, nl_parcel *p, int at, int n, const char *noun, int first);
void nl_pack_function(lua_State *L, nl_parcel *p, int fn, const char *cure);
void nl_pack_paths(lua_State *L, nl_parcel *p);
void nl_unpack_paths(lua_State *L, const nl_parcel *p);
int nl_unpack_values(lua_State *L, const nl_parcel *p);

/* ljob.c, lpool.c: functions in states and threads of their own */
typedef struct nl_job nl_job;
nl_job *nl_job_new(lua_State *L, nl_state *st, int fn);
int64_t nl_job_run(neap_job *job, void *user);
int32_t nl_job_finish(neap_future *future, int64_t result, void *user);
void nl_job_free(void *job);
void nl_push_job_error(lua_State *L, nl_state *st, const nl_parcel *answer);
int nl_in_job(lua_State *L);
int nl_job_wanted(lua_State *L);
extern const luaL_Reg nl_pool_calls[];
void nl_open_pool(lua_State *L, nl_state *st);
void nl_end_pools(nl_state *st);
void nl_open_select(lua_State *L, nl_state *st);
void nl_open_local(lua_State *L, nl_state *st);
void nl_open_run(lua_State *L, nl_state *st);
void nl_open_testing(lua_State *L, nl_state *st);
void nl_idle_on(nl_loop *l);
void nl_run_begin(lua_State *L, nl_loop *l, int ud, int patch);
void nl_run_end(lua_State *L, nl_loop *l, int patch);
int32_t nl_run_loop(lua_State *L, nl_loop *l, neap_future *until, int interrupts);
int nl_run_answer(lua_State *L, nl_state *st, int32_t code);
void nl_refuse_running(lua_State *L, nl_state *st, nl_loop *l);
enum {
    NL_RAISE_EXIT = 1,
    NL_RAISE_SHUTDOWN = 2,
    NL_RAISE_ABORT = 3
};
nl_loop *nl_running_loop(nl_state *st);
void nl_note_listener(nl_state *st);
int32_t nl_begin_shutdown(nl_state *st, neap_loop *loop, const char *reason);
int nl_on_shutdown(lua_State *L);
void nl_open_shutdown(lua_State *L, nl_state *st);
void nl_signals_on(lua_State *L, nl_signals *s);
void nl_signals_off(nl_signals *s);
extern const luaL_Reg nl_signal_calls[];
void nl_signals_heard(nl_signals *s);

/* lserver.c */
void nl_open_server(lua_State *L, nl_state *st);
/* lsigwatch.c, and what it tells lsignal.c */
int nl_to_signal(lua_State *L, nl_state *st, int index);
void nl_push_signal(lua_State *L, int signo);
void nl_open_sigwatch(lua_State *L, nl_state *st);
void nl_signal_taken(nl_state *st, int signo);
void nl_signal_gone(nl_state *st, int signo);
void nl_signals_back(nl_state *st);

/* lprocess.c, lspawn.c */
neap_process **nl_new_process(lua_State *L, nl_state *st);
extern const luaL_Reg nl_spawn_calls[];
void nl_open_process(lua_State *L, nl_state *st);

/* lcount.c */
void nl_check_slice(lua_State *L, nl_state *st);
void nl_set_slice(lua_State *L, nl_task *t, int64_t ns);
void nl_overtime_begin(nl_state *st, neap_loop *loop);
void nl_overtime(nl_state *st, int64_t ns, int64_t more);
void nl_overtime_end(nl_state *st, neap_loop *loop);
void nl_count_in(const nl_state *st, lua_State *co);
void nl_count_end(lua_State *co);
void nl_count_now(nl_state *st);
void nl_interrupt_on(nl_state *st, neap_loop *loop);
void nl_interrupt_off(nl_state *st);
int nl_interrupted(lua_State *L, nl_state *st);

#endif
