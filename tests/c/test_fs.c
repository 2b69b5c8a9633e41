/* Operations on paths. */
#include <errno.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "files.h"

/* ---- Calls with one path, run to their end ------------------------------------------------- */

static int32_t unlink_code(const char *path) {
    neap_future *future = NULL;
    int32_t code = neap_fs_unlink(nt.loop, NT_PATH(path), &future);
    return nt_done(code, &future);
}

static int32_t mkdir_code(const char *path, uint32_t flags) {
    neap_future *future = NULL;
    int32_t code = neap_fs_mkdir(nt.loop, NT_PATH(path), flags, 0755, &future);
    return nt_done(code, &future);
}

static int32_t write_code(const char *path, const void *data, size_t len, uint32_t flags,
                          int64_t *ret_partial) {
    neap_future *future = NULL;
    int32_t code = neap_fs_write(nt.loop, NT_PATH(path), data, len, flags, 0644, &future);
    code = nt_await(code, future);
    if (ret_partial != NULL)
        *ret_partial = neap_future_partial(future);
    neap_future_unref(future);
    return code;
}

static int32_t replace_code(const char *path, const char *text) {
    neap_future *future = NULL;
    int32_t code = neap_fs_replace(nt.loop, NT_PATH(path), text, strlen(text), 0644, &future);
    return nt_done(code, &future);
}

static int32_t copy_code(const char *from, const char *to, uint32_t flags) {
    neap_future *future = NULL;
    int32_t code = neap_fs_copy(nt.loop, NT_PATH(from), NT_PATH(to), flags, &future);
    return nt_done(code, &future);
}

static int32_t stat_of(const char *path, uint32_t flags, neap_stat *ret_stat) {
    neap_future *future = NULL;
    int32_t code = neap_fs_stat(nt.loop, NT_PATH(path), flags, &future);
    code = nt_await(code, future);
    if (code == 0)
        assert_ok(neap_future_get_stat(future, ret_stat, sizeof *ret_stat));
    neap_future_unref(future);
    return code;
}

/* The text that a call answers. */
static void assert_text(int32_t code, neap_future *future, const char *expected) {
    const void *data;
    size_t len;
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_get_bytes(future, &data, &len));
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(data, expected, len);
    neap_future_unref(future);
}

/* ---- Whole files ------------------------------------------------------------------------------ */

static void a_file_is_written_and_read_whole(void **state) {
    (void)state;
    neap_future *future = NULL;
    const char *path = nt_path("file");
    assert_ok(write_code(path, "text", 4, 0, NULL));
    int32_t code = neap_fs_read(nt.loop, NT_PATH(path), &future);
    assert_text(code, future, "text");
    assert_ok(write_code(path, " more", 5, NEAP_FS_APPEND, NULL));
    nt_assert_file("file", "text more");
    assert_ok(write_code(path, NULL, 0, NEAP_FS_SYNC, NULL));
    nt_assert_file("file", "");
    assert_code(write_code(path, "x", 1, NEAP_FS_EXCL, NULL), NEAP_EEXIST);
    code = neap_fs_read(nt.loop, NT_PATH(path), &future);
    assert_text(code, future, "");
}

static void an_empty_read_of_a_missing_file_fails(void **state) {
    (void)state;
    neap_future *future = NULL;
    const char *path = nt_path("none");
    int32_t code = neap_fs_read(nt.loop, NT_PATH(path), &future);
    assert_code(nt_done(code, &future), NEAP_ENOENT);
}

static void a_replacement_keeps_permissions_and_leaves_nothing_behind(void **state) {
    (void)state;
    neap_stat st;
    nt_put_file("file", "old", 3);
    const char *path = nt_path("file");
    assert_int_equal(chmod(path, 0640), 0);
    assert_ok(replace_code(path, "new"));
    nt_assert_file("file", "new");
    assert_ok(stat_of(path, 0, &st));
    assert_int_equal(st.permissions, 0640);
    assert_int_equal(nt_entries(), 1);
    assert_ok(replace_code(nt_path("other"), "made"));
    nt_assert_file("other", "made");
}

static void a_replacement_that_fails_leaves_the_old_and_nothing_else(void **state) {
    (void)state;
    assert_ok(mkdir_code(nt_path("dir"), 0));
    assert_code(replace_code(nt_path("dir"), "new"), NEAP_EISDIR);
    assert_int_equal(nt_entries(), 1);
    assert_code(replace_code(nt_path("none/file"), "new"), NEAP_ENOENT);
}

static void a_replacement_takes_the_place_of_a_link(void **state) {
    (void)state;
    nt_put_file("file", "old", 3);
    assert_int_equal(symlink("file", nt_path("link")), 0);
    assert_ok(replace_code(nt_path("link"), "new"));
    nt_assert_file("file", "old");
    nt_assert_file("link", "new");
}

static void a_copy_has_bytes_and_permissions(void **state) {
    (void)state;
    neap_stat st;
    nt_put_file("from", "text", 4);
    const char *from = nt_path("from"), *to = nt_path("to");
    assert_int_equal(chmod(from, 0751), 0);
    assert_ok(copy_code(from, to, 0));
    nt_assert_file("to", "text");
    assert_ok(stat_of(to, 0, &st));
    assert_int_equal(st.permissions, 0751);
    assert_code(copy_code(from, to, NEAP_FS_EXCL), NEAP_EEXIST);
    assert_code(copy_code(from, from, 0), NEAP_EINVAL);
    nt_assert_file("from", "text");
    assert_code(copy_code("/tmp", to, 0), NEAP_EISDIR);
    assert_code(copy_code(nt_path("none"), to, 0), NEAP_ENOENT);
    assert_ok(copy_code("/proc/self/comm", to, 0));
    nt_assert_file("to", "test_fs\n");
    assert_ok(copy_code("/dev/null", to, 0));
    nt_assert_file("to", "");
}

/* ---- A full disk ------------------------------------------------------------------------------- */

enum {
    DISK = 256 * 1024
};

/* A small file system of the test's own; false where one may not mount. */
static int mount_disk(void) {
    assert_int_equal(mkdir(nt_path("disk"), 0755), 0);
    if (mount("none", nt_path("disk"), "tmpfs", 0, "size=256k") == 0)
        return 1;
    print_message("not run: a full disk needs the right to mount a tmpfs\n");
    return 0;
}

static void a_full_disk_tells_how_much_went_and_keeps_what_was(void **state) {
    (void)state;
    static char data[2 * DISK];
    int64_t partial = -1;
    if (!mount_disk())
        return;
    assert_ok(write_code(nt_path("disk/kept"), "old", 3, 0, NULL));
    assert_code(write_code(nt_path("disk/file"), data, sizeof data, 0, &partial), NEAP_ENOSPC);
    assert_true(partial > 0 && partial < (int64_t)sizeof data);
    assert_code(replace_code(nt_path("disk/kept"), "a replacement that does not fit"), NEAP_ENOSPC);
    nt_assert_file("disk/kept", "old");
    nt_put_file("big", data, sizeof data);
    assert_code(copy_code(nt_path("big"), nt_path("disk/copy"), 0), NEAP_ENOSPC);
}

/* Also when the test has failed. */
static int teardown_disk(void **state) {
    (void)umount2(nt_path("disk"), MNT_DETACH);
    return nt_teardown_dir(state);
}

/* ---- Names -------------------------------------------------------------------------------------- */

static void names_are_given_changed_and_removed(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_stat st;
    nt_put_file("a", "a", 1);
    nt_put_file("b", "b", 1);
    const char *a = nt_path("a"), *b = nt_path("b"), *c = nt_path("c");
    int32_t code = neap_fs_rename(nt.loop, NT_PATH(a), NT_PATH(b), NEAP_FS_EXCL, &future);
    assert_code(nt_done(code, &future), NEAP_EEXIST);
    code = neap_fs_rename(nt.loop, NT_PATH(a), NT_PATH(b), 0, &future);
    assert_ok(nt_done(code, &future));
    nt_assert_file("b", "a");
    code = neap_fs_link(nt.loop, NT_PATH(b), NT_PATH(c), &future);
    assert_ok(nt_done(code, &future));
    code = neap_fs_symlink(nt.loop, "b", 1, NT_PATH(a), &future);
    assert_ok(nt_done(code, &future));
    code = neap_fs_readlink(nt.loop, NT_PATH(a), &future);
    assert_text(code, future, "b");
    assert_ok(stat_of(a, 0, &st));
    assert_int_equal(st.type, NEAP_FILE_REGULAR);
    assert_int_equal(st.links, 2);
    assert_ok(stat_of(a, NEAP_FS_NOFOLLOW, &st));
    assert_int_equal(st.type, NEAP_FILE_SYMLINK);
    code = neap_fs_realpath(nt.loop, NT_PATH(a), &future);
    assert_text(code, future, b);
    assert_ok(unlink_code(a));
    assert_code(unlink_code(a), NEAP_ENOENT);
}

static void directories_are_made_with_their_parents_and_removed(void **state) {
    (void)state;
    neap_future *future = NULL;
    const char *path = nt_path("a/b/c");
    assert_code(mkdir_code(path, 0), NEAP_ENOENT);
    assert_ok(mkdir_code(path, NEAP_FS_PARENTS));
    assert_ok(mkdir_code(path, NEAP_FS_PARENTS));
    assert_code(mkdir_code(path, 0), NEAP_EEXIST);
    int32_t code = neap_fs_rmdir(nt.loop, NT_PATH(path), &future);
    assert_ok(nt_done(code, &future));
    const char *top = nt_path("a");
    code = neap_fs_rmdir(nt.loop, NT_PATH(top), &future);
    assert_code(nt_done(code, &future), -ENOTEMPTY);
}

static void a_directory_is_read_whole_with_types(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_dir_entry e;
    size_t cursor = 0;
    int seen = 0;
    nt_put_file("file", "", 0);
    assert_int_equal(symlink("file", nt_path("link")), 0);
    assert_int_equal(mkdir(nt_path("dir"), 0755), 0);
    assert_int_equal(mkfifo(nt_path("fifo"), 0600), 0);
    const char *path = nt_path("");
    int32_t code = neap_fs_readdir(nt.loop, NT_PATH(path), 0, &future);
    assert_ok(nt_await(code, future));
    while (neap_future_get_entry(future, &cursor, &e, sizeof e) == 1) {
        assert_int_equal(e.name_len, strlen(e.name));
        assert_int_equal(e.type, e.name[0] == 'd'   ? NEAP_FILE_DIRECTORY
                                 : e.name[0] == 'l' ? NEAP_FILE_SYMLINK
                                 : e.name[2] == 'f' ? NEAP_FILE_FIFO
                                                    : NEAP_FILE_REGULAR);
        seen++;
    }
    assert_int_equal(seen, 4);
    assert_int_equal(neap_future_get_entry(future, &cursor, &e, sizeof e), 0);
    assert_code(neap_future_get_entry(future, &cursor, &e, 1), NEAP_EINVAL);
    neap_future_unref(future);
    path = nt_path("file");
    code = neap_fs_readdir(nt.loop, NT_PATH(path), 0, &future);
    assert_code(nt_done(code, &future), NEAP_ENOTDIR);
}

static void what_is_asked_of_a_future_must_be_there(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_stat st;
    neap_dir_entry e;
    size_t cursor = 0;
    int32_t code = neap_fs_stat(nt.loop, "/tmp", 4, 0, &future);
    assert_code(neap_future_get_stat(future, &st, sizeof st), NEAP_EPENDING);
    assert_ok(nt_await(code, future));
    assert_code(neap_future_get_entry(future, &cursor, &e, sizeof e), NEAP_ETYPE);
    memset(&st, 0xff, sizeof st);
    assert_ok(neap_future_get_stat(future, &st, sizeof(size_t) + sizeof(int32_t)));
    assert_int_equal(st.type, NEAP_FILE_DIRECTORY);
    assert_int_equal(st.permissions, UINT32_MAX);
    neap_future_unref(future);
    future = nt_future();
    assert_ok(neap_future_set_none(future));
    assert_code(neap_future_get_stat(future, &st, sizeof st), NEAP_ETYPE);
    neap_future_unref(future);
}

static void permissions_times_and_sizes_are_set(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_stat st;
    nt_put_file("file", "12345", 5);
    const char *path = nt_path("file");
    int32_t code = neap_fs_chmod(nt.loop, NT_PATH(path), 0604, &future);
    assert_ok(nt_done(code, &future));
    code = neap_fs_utimes(nt.loop, NT_PATH(path), NT_SEC + 5, -NT_SEC / 2, 0, &future);
    assert_ok(nt_done(code, &future));
    code = neap_fs_truncate(nt.loop, NT_PATH(path), 2, &future);
    assert_ok(nt_done(code, &future));
    assert_ok(stat_of(path, 0, &st));
    assert_int_equal(st.permissions, 0604);
    assert_int_equal(st.bytes, 2);
    code = neap_fs_utimes(nt.loop, NT_PATH(path), NEAP_TIME_OMIT, -NT_SEC / 2, 0, &future);
    assert_ok(nt_done(code, &future));
    assert_ok(stat_of(path, 0, &st));
    assert_int_equal(st.atime_ns, NT_SEC + 5);
    assert_int_equal(st.mtime_ns, -NT_SEC / 2);
    assert_code(neap_fs_chmod(nt.loop, NT_PATH(path), 010000, &future), NEAP_EINVAL);
    assert_code(neap_fs_truncate(nt.loop, NT_PATH(path), -1, &future), NEAP_EINVAL);
}

static void temporary_files_and_directories_are_new(void **state) {
    (void)state;
    neap_future *future = NULL;
    neap_file *file = NULL;
    const char *pattern = nt_path("t-XXXXXX");
    int32_t code = neap_fs_mkstemp(nt.loop, NT_PATH(pattern), &future);
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_take_file(future, &file));
    neap_future_unref(future);
    assert_int_equal(access(neap_file_path(file), R_OK), 0);
    assert_string_not_equal(neap_file_path(file), pattern);
    nt_close(file);
    code = neap_fs_mkdtemp(nt.loop, NT_PATH(pattern), &future);
    assert_ok(nt_done(code, &future));
    assert_int_equal(nt_entries(), 2);
    pattern = nt_path("none");
    code = neap_fs_mkstemp(nt.loop, NT_PATH(pattern), &future);
    assert_code(nt_done(code, &future), NEAP_EINVAL);
}

static void wrong_arguments_are_refused(void **state) {
    (void)state;
    neap_future *future = NULL;
    assert_code(neap_fs_stat(nt.loop, "/tmp", 4, 1u << 20, &future), NEAP_EINVAL);
    assert_code(neap_fs_stat(nt.loop, "/tmp", 4, 0, NULL), NEAP_EINVAL);
    assert_code(neap_fs_stat(nt.loop, NULL, 4, 0, &future), NEAP_EINVAL);
    assert_code(neap_fs_stat(NULL, "/tmp", 4, 0, &future), NEAP_EINVAL);
    assert_code(neap_fs_stat(nt.loop, "/t\0p", 4, 0, &future), NEAP_EVALUE);
    assert_code(neap_fs_rename(nt.loop, "a", 1, "\0", 1, 0, &future), NEAP_EVALUE);
    assert_code(neap_fs_copy(nt.loop, "a", 1, "\0", 1, 0, &future), NEAP_EVALUE);
    assert_code(neap_fs_write(nt.loop, "a", 1, NULL, 1, 0, 0644, &future), NEAP_EINVAL);
    assert_code(neap_fs_mkdir(nt.loop, "a", 1, NEAP_FS_EXCL, 0755, &future), NEAP_EINVAL);
    assert_null(future);
}

NT_MAIN(NT_TEST_DIR(a_file_is_written_and_read_whole),
        NT_TEST_DIR(an_empty_read_of_a_missing_file_fails),
        NT_TEST_DIR(a_replacement_keeps_permissions_and_leaves_nothing_behind),
        NT_TEST_DIR(a_replacement_that_fails_leaves_the_old_and_nothing_else),
        NT_TEST_DIR(a_replacement_takes_the_place_of_a_link),
        NT_TEST_DIR(a_copy_has_bytes_and_permissions),
        cmocka_unit_test_setup_teardown(a_full_disk_tells_how_much_went_and_keeps_what_was,
                                        nt_setup_dir, teardown_disk),
        NT_TEST_DIR(names_are_given_changed_and_removed),
        NT_TEST_DIR(directories_are_made_with_their_parents_and_removed),
        NT_TEST_DIR(a_directory_is_read_whole_with_types),
        NT_TEST_DIR(what_is_asked_of_a_future_must_be_there),
        NT_TEST_DIR(permissions_times_and_sizes_are_set),
        NT_TEST_DIR(temporary_files_and_directories_are_new),
        NT_TEST_DIR(wrong_arguments_are_refused))
