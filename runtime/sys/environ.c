/* environ.c: what a child process is told: its environment, and where its program may be. */
#include <string.h>
#include <unistd.h>

#include "sys/spawn.h"

#define PATH_DEFAULT "/bin:/usr/bin" /* where a program without PATH is looked for, as by execvp */

/* ---- The environment */

static size_t name_len(const char *entry) {
    return strcspn(entry, "=");
}

static bool is_same_name(const char *a, const char *b) {
    size_t n = name_len(a);
    return n == name_len(b) && memcmp(a, b, n) == 0;
}

/* Whether one of the list says something else about the entry's name. */
static bool is_overruled(const char *entry, const char *const *list) {
    for (; list != NULL && *list != NULL; list++)
        if (is_same_name(entry, *list))
            return true;
    return false;
}

static size_t count(const char *const *list) {
    size_t n = 0;
    while (list != NULL && list[n] != NULL)
        n++;
    return n;
}

/* Of entries with one name the last counts. */
static void merge(char **to, char *const *base, const char *const *more) {
    for (; base != NULL && *base != NULL; base++)
        if (!is_overruled(*base, more))
            *to++ = *base;
    for (; more != NULL && *more != NULL; more++)
        if (strchr(*more, '=') != NULL && !is_overruled(*more, more + 1))
            *to++ = (char *)(uintptr_t)*more;
    *to = NULL;
}

int32_t np_env_make(np_alloc *a, const neap_process_options *o, np_env *ret_env) {
    char **base = (o->flags & NEAP_PROCESS_CLEAR_ENV) != 0 ? NULL : environ;
    for (const char *const *at = o->env; at != NULL && *at != NULL; at++)
        if (name_len(*at) == 0)
            return NEAP_EINVAL;
    *ret_env = (np_env){.list = base};
    if (base != NULL && o->env == NULL)
        return 0;
    size_t n = count((const char *const *)base) + count(o->env) + 1;
    char **list = np_alloc_get(a, n * sizeof *list);
    if (list == NULL)
        return NEAP_ENOMEM;
    merge(list, base, o->env);
    *ret_env = (np_env){list, n * sizeof *list};
    return 0;
}

void np_env_drop(np_alloc *a, np_env *env) {
    if (env->bytes > 0)
        np_alloc_put(a, env->list, env->bytes);
}

/* ---- The program */

static const char *search_path(char *const *env) {
    for (; env != NULL && *env != NULL; env++)
        if (strncmp(*env, "PATH=", 5) == 0)
            return *env + 5;
    return PATH_DEFAULT;
}

static size_t count_parts(const char *path) {
    size_t n = 1;
    for (; *path != '\0'; path++)
        n += *path == ':';
    return n;
}

static char *put(char *to, const char *text, size_t n) {
    memcpy(to, text, n);
    return to + n;
}

/* An empty part of the path is the directory that the child is in. */
static void join_each(char *to, const char *path, const char *file) {
    for (;;) {
        size_t n = strcspn(path, ":");
        to = put(to, path, n);
        if (n > 0)
            *to++ = '/';
        to = put(to, file, strlen(file) + 1);
        if (path[n] == '\0')
            break;
        path += n + 1;
    }
    *to = '\0';
}

int32_t np_paths_make(np_alloc *a, const char *file, char *const *env, np_paths *ret_paths) {
    bool given = strchr(file, '/') != NULL || *file == '\0';
    const char *path = given ? "" : search_path(env);
    size_t bytes = strlen(path) + count_parts(path) * (strlen(file) + 2) + 1;
    char *text = np_alloc_get(a, bytes);
    if (text == NULL)
        return NEAP_ENOMEM;
    join_each(text, path, file);
    *ret_paths = (np_paths){text, bytes};
    return 0;
}

void np_paths_drop(np_alloc *a, np_paths *paths) {
    np_alloc_put(a, paths->text, paths->bytes);
}
