/* Watches of files. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "files.h"

/* The next event, whatever it takes. */
static neap_fs_event next(neap_fs_watch *watch) {
    neap_fs_event e;
    neap_future *future = NULL;
    int32_t code;
    while ((code = neap_fs_watch_next(watch, &e, sizeof e, &future)) == NEAP_PENDING)
        assert_ok(nt_done(code, &future));
    assert_int_equal(code, 1);
    return e;
}

static int32_t add(neap_fs_watch *watch, const char *path) {
    return neap_fs_watch_add(watch, NT_PATH(path));
}

static void events_come_in_order_with_names(void **state) {
    (void)state;
    neap_fs_watch *watch = NULL;
    assert_ok(neap_fs_watch_new(nt.loop, &watch));
    int32_t id = add(watch, nt_path("."));
    assert_true(id > 0);
    assert_int_equal(add(watch, nt_path(".")), id);
    nt_put_file("file", "x", 1);
    unlink(nt_path("file"));
    static const uint32_t kinds[] = {NEAP_FS_CREATED, NEAP_FS_MODIFIED, NEAP_FS_WRITTEN,
                                     NEAP_FS_DELETED};
    for (int i = 0; i < 4; i++) {
        neap_fs_event e = next(watch);
        assert_int_equal(e.kinds, kinds[i]);
        assert_int_equal(e.id, id);
        assert_string_equal(e.name, "file");
        assert_int_equal(e.name_len, 4);
    }
    neap_fs_event e;
    assert_code(neap_fs_watch_next(watch, &e, sizeof e, NULL), NEAP_EAGAIN);
    assert_code(neap_fs_watch_next(watch, &e, 1, NULL), NEAP_EINVAL);
    neap_fs_watch_unref(watch);
}

static void the_end_of_what_is_watched_is_an_event(void **state) {
    (void)state;
    neap_fs_watch *watch = NULL;
    nt_put_file("file", "x", 1);
    assert_ok(neap_fs_watch_new(nt.loop, &watch));
    int32_t id = add(watch, nt_path("file"));
    unlink(nt_path("file"));
    uint32_t seen = 0;
    while ((seen & NEAP_FS_ENDED) == 0)
        seen |= next(watch).kinds;
    assert_int_equal(seen & NEAP_FS_GONE, NEAP_FS_GONE);
    assert_code(neap_fs_watch_remove(watch, id), NEAP_EINVAL);
    assert_code(add(watch, nt_path("file")), NEAP_ENOENT);
    assert_code(neap_fs_watch_add(watch, "a\0", 2), NEAP_EVALUE);
    id = add(watch, nt_path("."));
    assert_ok(neap_fs_watch_remove(watch, id));
    assert_int_equal(next(watch).kinds, NEAP_FS_ENDED);
    neap_fs_watch_unref(watch);
}

static void a_wait_ends_with_the_watch_and_with_a_cancel(void **state) {
    (void)state;
    neap_fs_watch *watch = NULL;
    neap_future *future = NULL;
    neap_fs_event e;
    assert_ok(neap_fs_watch_new(nt.loop, &watch));
    add(watch, nt_path("."));
    assert_code(neap_fs_watch_next(watch, &e, sizeof e, &future), NEAP_PENDING);
    assert_int_equal(neap_future_cancel(future, NULL), 1);
    neap_future_unref(future);
    assert_code(neap_fs_watch_next(watch, &e, sizeof e, &future), NEAP_PENDING);
    assert_ok(neap_fs_watch_close(watch));
    assert_code(neap_future_error(future), NEAP_ECLOSED);
    neap_future_unref(future);
    assert_code(neap_fs_watch_next(watch, &e, sizeof e, &future), NEAP_ECLOSED);
    assert_code(add(watch, "/"), NEAP_ECLOSED);
    assert_ok(neap_fs_watch_close(watch));
    neap_fs_watch_unref(watch);
}

NT_MAIN(NT_TEST_DIR(events_come_in_order_with_names),
        NT_TEST_DIR(the_end_of_what_is_watched_is_an_event),
        NT_TEST_DIR(a_wait_ends_with_the_watch_and_with_a_cancel))
