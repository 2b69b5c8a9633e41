/* A GLib program: the loop's descriptor is a source of its main context. */
#include "scene.h"

#include <glib-unix.h>
#include <glib.h>

typedef struct host {
    GMainLoop *main;
    int turns;
} host;

static void quit(void *user) {
    g_main_loop_quit(((host *)user)->main);
}

/* ---- The simple way: a source for the descriptor --------------------------------------------- */

static gboolean on_readable(gint fd, GIOCondition condition, gpointer user) {
    host *h = user;
    (void)fd;
    (void)condition;
    h->turns++;
    assert_true(neap_loop_run_once(nt.loop, 0) >= 0);
    return G_SOURCE_CONTINUE;
}

static gboolean on_timeout(gpointer user) {
    quit(user);
    return G_SOURCE_REMOVE;
}

static void a_glib_main_loop_drives_everything_through_the_descriptor(void **state) {
    (void)state;
    scene s;
    host h = {.main = g_main_loop_new(NULL, FALSE)};
    guint source = g_unix_fd_add(neap_loop_fd(nt.loop), G_IO_IN, on_readable, &h);
    scene_begin(&s, nt.loop, quit, &h);
    g_main_loop_run(h.main);
    assert_int_equal(s.done, 1);
    g_source_remove(source);
    scene_end(&s);
    g_main_loop_unref(h.main);
}

static void a_glib_main_loop_takes_no_turn_while_the_loop_is_idle(void **state) {
    (void)state;
    idle_scene s;
    host h = {.main = g_main_loop_new(NULL, FALSE)};
    guint source = g_unix_fd_add(neap_loop_fd(nt.loop), G_IO_IN, on_readable, &h);
    idle_begin(&s, nt.loop);
    while (g_main_context_iteration(NULL, FALSE))
        assert_true(h.turns < 10);
    h.turns = 0;
    g_timeout_add(200, on_timeout, &h);
    g_main_loop_run(h.main);
    assert_int_equal(h.turns, 0);
    g_source_remove(source);
    idle_end(&s);
    g_main_loop_unref(h.main);
}

/* ---- The precise way: a source whose phases are the loop's ----------------------------------- */

typedef struct neap_source {
    GSource base;
    neap_loop *loop;
    gpointer tag; /* of the descriptor */
    int turns;
} neap_source;

static gboolean source_prepare(GSource *base, gint *timeout_ms) {
    neap_source *source = (neap_source *)base;
    int64_t timeout = -1;
    int32_t ready = neap_loop_prepare(source->loop, &timeout);
    *timeout_ms = timeout < 0 ? -1 : (gint)((timeout + NT_MS - 1) / NT_MS);
    return ready == 1;
}

static gboolean source_check(GSource *base) {
    neap_source *source = (neap_source *)base;
    int64_t timeout = -1;
    if (g_source_query_unix_fd(base, source->tag) != 0)
        return TRUE;
    return neap_loop_prepare(source->loop, &timeout) == 1 || timeout == 0;
}

static gboolean source_dispatch(GSource *base, GSourceFunc fn, gpointer user) {
    neap_source *source = (neap_source *)base;
    (void)fn;
    (void)user;
    source->turns++;
    assert_true(neap_loop_wait(source->loop, 0) >= 0);
    assert_true(neap_loop_dispatch(source->loop, 0) >= 0);
    return G_SOURCE_CONTINUE;
}

static GSourceFuncs source_funcs = {source_prepare, source_check, source_dispatch,
                                    NULL,           NULL,         NULL};

static neap_source *attach_source(neap_loop *loop) {
    GSource *base = g_source_new(&source_funcs, sizeof(neap_source));
    neap_source *source = (neap_source *)base;
    source->loop = loop;
    source->turns = 0;
    source->tag = g_source_add_unix_fd(base, neap_loop_fd(loop), G_IO_IN);
    g_source_attach(base, NULL);
    return source;
}

static void detach_source(neap_source *source) {
    g_source_destroy(&source->base);
    g_source_unref(&source->base);
}

static void a_glib_source_with_the_loops_phases_drives_everything(void **state) {
    (void)state;
    scene s;
    host h = {.main = g_main_loop_new(NULL, FALSE)};
    neap_source *source = attach_source(nt.loop);
    scene_begin(&s, nt.loop, quit, &h);
    g_main_loop_run(h.main);
    assert_int_equal(s.done, 1);
    detach_source(source);
    scene_end(&s);
    g_main_loop_unref(h.main);
}

static void a_glib_source_is_not_dispatched_while_the_loop_is_idle(void **state) {
    (void)state;
    idle_scene s;
    host h = {.main = g_main_loop_new(NULL, FALSE)};
    neap_source *source = attach_source(nt.loop);
    idle_begin(&s, nt.loop);
    while (g_main_context_iteration(NULL, FALSE))
        assert_true(source->turns < 10);
    source->turns = 0;
    g_timeout_add(200, on_timeout, &h);
    g_main_loop_run(h.main);
    assert_int_equal(source->turns, 0);
    detach_source(source);
    idle_end(&s);
    g_main_loop_unref(h.main);
}

/* GLib keeps an eventfd for its default context: it is made here, so that no test seems to leak
   it. */
static int warm_up(void **state) {
    (void)state;
    g_main_context_iteration(NULL, FALSE);
    return 0;
}

static int setup(void **state) {
    return warm_up(state) || scene_setup(state);
}

#define HOST_TEST(f) cmocka_unit_test_setup_teardown(f, setup, nt_teardown)

NT_MAIN(HOST_TEST(a_glib_main_loop_drives_everything_through_the_descriptor),
        HOST_TEST(a_glib_main_loop_takes_no_turn_while_the_loop_is_idle),
        HOST_TEST(a_glib_source_with_the_loops_phases_drives_everything),
        HOST_TEST(a_glib_source_is_not_dispatched_while_the_loop_is_idle))
