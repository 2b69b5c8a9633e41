/* spawn.h: how a child process begins.

   Everything that needs memory is made ready by the parent (environ.c, spawn.c), because the child shares the parent's memory
   until it has begun its program: it only makes system calls, and writes nothing but its own stack and the plan. */
#ifndef NP_SPAWN_H
#define NP_SPAWN_H

#include <sys/types.h>

#include "base/alloc.h"

/* The environment of a child: the parent's, or a block of pointers to the strings of others. */
typedef struct np_env {
    char **list;  /* ends with NULL */
    size_t bytes; /* of the block; 0: the list is the parent's */
} np_env;

/* Errors: NEAP_EINVAL for an entry without a name, NEAP_ENOMEM. */
int32_t np_env_make(np_alloc *a, const neap_process_options *o, np_env *ret_env);
void np_env_drop(np_alloc *a, np_env *env);

/* Where a program may be: texts one after the other, ended by an empty one. */
typedef struct np_paths {
    char *text;
    size_t bytes;
} np_paths;

int32_t np_paths_make(np_alloc *a, const char *file, char *const *env, np_paths *ret_paths);
void np_paths_drop(np_alloc *a, np_paths *paths);

/* The parent's end of a pipe. */
typedef struct np_pipe_end {
    int32_t number; /* of the child's descriptor */
    int fd;         /* -1: there is none, or it was taken */
} np_pipe_end;

typedef struct np_spawned {
    pid_t pid;
    int pidfd;
} np_spawned;

/* Starts the program of valid options.  `ends` has one entry for each of o->fds. */
int32_t np_spawn(np_alloc *a, const neap_process_options *o, np_pipe_end *ends,
                 np_spawned *ret_spawned);

#endif
