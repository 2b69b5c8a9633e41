/* fswatch.c: what happens to files and directories, by inotify.

   The kernel keeps the queue of events, and its bound: nothing is read before somebody asks, and what did not fit is told as
   an event of its own.  So a slow reader costs no memory of ours. */
#include <errno.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "core/future.h"
#include "sys/filejob.h"
#include "sys/sys.h"

enum {
    BYTES = 4096 /* read at once: more than the longest event */
};

struct neap_fs_watch {
    np_obj obj;
    int fd; /* -1: closed */
    uint32_t at;
    uint32_t end;
    _Alignas(struct inotify_event) char bytes[BYTES];
};

static void shut(neap_fs_watch *w) {
    int fd = w->fd;
    w->fd = -1;
    if (fd < 0)
        return;
    if (np_guard_forked(&w->obj.loop->guard))
        w->obj.loop->io.abandoned = true; /* what the kernel watches is the parent's, too */
    np_watch_close_fd(w->obj.loop, fd);
    np_sys_close(w->obj.loop, fd);
}

static void destroy(np_obj *obj) {
    neap_fs_watch *w = np_container(obj, neap_fs_watch, obj);
    shut(w);
    np_obj_free_own(obj, sizeof *w);
}

static void abandoned(np_obj *obj) {
    shut(np_container(obj, neap_fs_watch, obj));
}

static const np_type watch_type = {
    .name = "watch of files", .destroy = destroy, .abandoned = abandoned};

int32_t neap_fs_watch_new(neap_loop *loop, neap_fs_watch **ret_watch) {
    int32_t rc = loop == NULL || ret_watch == NULL ? NEAP_EINVAL : np_enter(loop);
    if (rc < 0)
        return rc;
    neap_fs_watch *w = np_alloc_get(loop->alloc, sizeof *w);
    if (w == NULL)
        return NEAP_ENOMEM;
    int fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (fd < 0) {
        rc = -errno;
        np_alloc_put(loop->alloc, w, sizeof *w);
        return rc;
    }
    memset(w, 0, offsetof(neap_fs_watch, bytes));
    np_obj_init(&w->obj, loop, &watch_type);
    np_sys_attach(loop);
    w->fd = fd;
    np_obj_publish(&w->obj);
    *ret_watch = w;
    return 0;
}

neap_fs_watch *neap_fs_watch_ref(neap_fs_watch *watch) {
    np_obj_outer_ref(&watch->obj);
    return watch;
}

void neap_fs_watch_unref(neap_fs_watch *watch) {
    if (watch != NULL)
        np_obj_outer_unref(&watch->obj);
}

int32_t neap_fs_watch_close(neap_fs_watch *watch) {
    int32_t rc = watch == NULL ? NEAP_EINVAL : np_look(watch->obj.loop);
    if (rc == 0)
        shut(watch);
    return rc;
}

static int32_t enter(const neap_fs_watch *w) {
    int32_t rc = w == NULL ? NEAP_EINVAL : np_enter(w->obj.loop);
    return rc == 0 && w->fd < 0 ? NEAP_ECLOSED : rc;
}

/* ---- What is watched */

#define ALL                                                                            \
    (IN_ATTRIB | IN_CLOSE_WRITE | IN_CREATE | IN_DELETE | IN_DELETE_SELF | IN_MODIFY | \
     IN_MOVE_SELF | IN_MOVED_FROM | IN_MOVED_TO)

/* The path needs a zero behind it for this one call. */
int32_t neap_fs_watch_add(neap_fs_watch *watch, const char *path, size_t len) {
    int32_t rc = enter(watch);
    if (rc == 0)
        rc = np_path_check(path, len);
    if (rc < 0)
        return rc;
    np_alloc *alloc = watch->obj.loop->alloc;
    char *copy = len > SIZE_MAX / 2 ? NULL : np_alloc_get(alloc, len + 1);
    if (copy == NULL)
        return NEAP_ENOMEM;
    memcpy(copy, path, len);
    copy[len] = '\0';
    rc = inotify_add_watch(watch->fd, copy, ALL);
    rc = rc < 0 ? -errno : rc;
    np_alloc_put(alloc, copy, len + 1);
    return rc;
}

int32_t neap_fs_watch_remove(neap_fs_watch *watch, int32_t id) {
    int32_t rc = enter(watch);
    if (rc == 0 && inotify_rm_watch(watch->fd, id) < 0)
        rc = -errno;
    return rc;
}

/* ---- Events */

static uint32_t kinds_of(uint32_t mask) {
    static const struct {
        uint32_t theirs, ours;
    } kinds[] = {
        {IN_CREATE, NEAP_FS_CREATED},    {IN_DELETE, NEAP_FS_DELETED},
        {IN_MODIFY, NEAP_FS_MODIFIED},   {IN_CLOSE_WRITE, NEAP_FS_WRITTEN},
        {IN_ATTRIB, NEAP_FS_ATTRIBUTES}, {IN_MOVED_FROM, NEAP_FS_MOVED_FROM},
        {IN_MOVED_TO, NEAP_FS_MOVED_TO}, {IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT, NEAP_FS_GONE},
        {IN_IGNORED, NEAP_FS_ENDED},     {IN_Q_OVERFLOW, NEAP_FS_OVERFLOW},
        {IN_ISDIR, NEAP_FS_IS_DIRECTORY}};
    uint32_t out = 0;
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++)
        out |= (mask & kinds[i].theirs) != 0 ? kinds[i].ours : 0;
    return out;
}

static int32_t take(neap_fs_watch *w, neap_fs_event *ret_event) {
    struct inotify_event e;
    const char *at = w->bytes + w->at;
    memcpy(&e, at, sizeof e);
    w->at += (uint32_t)sizeof e + e.len;
    *ret_event = (neap_fs_event){.size = sizeof *ret_event,
                                 .id = e.wd,
                                 .kinds = kinds_of(e.mask),
                                 .cookie = e.cookie,
                                 .name = at + sizeof e,
                                 .name_len = e.len > 0 ? strlen(at + sizeof e) : 0};
    return 1;
}

/* Reads what there is: 0, or why not. */
static int32_t fill(neap_fs_watch *w) {
    ssize_t n;
    do
        n = read(w->fd, w->bytes, BYTES);
    while (n < 0 && errno == EINTR);
    w->at = 0;
    w->end = n > 0 ? (uint32_t)n : 0;
    return n < 0 ? -errno : 0;
}

int32_t neap_fs_watch_next(neap_fs_watch *watch, neap_fs_event *ret_event, size_t size,
                           neap_future **ret_future) {
    int32_t rc = ret_event == NULL || size < sizeof *ret_event ? NEAP_EINVAL : enter(watch);
    if (rc == 0 && watch->at == watch->end)
        rc = fill(watch);
    if (rc == 0)
        return take(watch, ret_event);
    if (rc != NEAP_EAGAIN || ret_future == NULL)
        return rc;
    return neap_fd_ready(watch->obj.loop, watch->fd, NEAP_READ, NEAP_WANT_FUTURE, ret_future);
}
