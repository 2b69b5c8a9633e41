#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir[64];

static void make_dir(void) {
    strcpy(dir, "/tmp/neap-test-XXXXXX");
    assert_non_null(mkdtemp(dir));
}

int nt_setup_dir(void **state) {
    make_dir();
    return nt_setup(state);
}

int nt_setup_dir_bare(void **state) {
    make_dir();
    return nt_setup_bare(state);
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw) {
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

int nt_teardown_dir(void **state) {
    nt.closes_late = 1;
    int rc = nt_teardown(state);
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    return rc;
}

void nt_empty_dir(void) {
    nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
    assert_int_equal(mkdir(dir, 0700), 0);
}

const char *nt_path(const char *name) {
    static char paths[8][4096];
    static int next;
    char *path = paths[next++ % 8];
    snprintf(path, sizeof paths[0], "%s/%s", dir, name);
    return path;
}

void nt_put_file(const char *name, const void *data, size_t len) {
    int fd = open(nt_path(name), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, data, len), (ssize_t)len);
    close(fd);
}

void nt_assert_file(const char *name, const char *text) {
    char buf[4096];
    int fd = open(nt_path(name), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = read(fd, buf, sizeof buf - 1);
    close(fd);
    assert_true(n >= 0);
    buf[n] = '\0';
    assert_string_equal(buf, text);
}

int nt_exists(const char *name) {
    struct stat st;
    return lstat(nt_path(name), &st) == 0;
}

size_t nt_entries(void) {
    DIR *d = opendir(dir);
    size_t n = 0;
    assert_non_null(d);
    for (const struct dirent *e; (e = readdir(d)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(d);
    return n;
}

int32_t nt_await(int32_t code, neap_future *future) {
    assert_int_equal(code, NEAP_PENDING);
    nt_until(future);
    return neap_future_error(future);
}

int32_t nt_done(int32_t code, neap_future **future) {
    int32_t rc = nt_await(code, *future);
    neap_future_unref(*future);
    *future = NULL;
    return rc;
}

neap_file *nt_open(const char *name, uint32_t how) {
    neap_future *future = NULL;
    neap_file *file = NULL;
    const char *path = nt_path(name);
    int32_t code = neap_file_open(nt.loop, NT_PATH(path), how, 0644, &future);
    assert_ok(nt_await(code, future));
    assert_ok(neap_future_take_file(future, &file));
    neap_future_unref(future);
    return file;
}

void nt_close(neap_file *file) {
    neap_future *future = NULL;
    int32_t code = neap_file_close(file, &future);
    assert_ok(nt_done(code, &future));
    neap_file_unref(file);
}

void nt_assert_read(neap_file *file, size_t len, const char *text) {
    neap_future *future = NULL;
    neap_buf *buf = NULL;
    const void *data;
    size_t n;
    int32_t code = neap_file_read(file, len, 0, &buf, &future);
    if (code == NEAP_PENDING) {
        assert_ok(nt_await(code, future));
        assert_ok(neap_future_get_bytes(future, &data, &n));
    } else {
        assert_int_equal(code, (int)neap_buf_len(buf));
        data = neap_buf_data(buf);
        n = neap_buf_len(buf);
    }
    assert_int_equal(n, strlen(text));
    assert_memory_equal(data, text, n);
    neap_buf_unref(buf);
    neap_future_unref(future);
}
