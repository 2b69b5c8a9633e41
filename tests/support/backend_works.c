/* backend_works.c: runs a command if this machine has a backend.  Usage: backend_works BACKEND [COMMAND ARGUMENTS...]

   Exit status 77, which a test runner takes for "not run", when the machine refuses the backend (a sandbox may forbid
   io_uring), and 78 when it was not built in. */
#include <stdio.h>
#include <unistd.h>

#include "neap.h"

enum {
    REFUSED = 77,
    NOT_BUILT = 78
};

int main(int argc, char **argv) {
    neap_loop *loop = NULL;
    neap_loop_options options = {.size = sizeof options, .backend = argc > 1 ? argv[1] : NULL};
    if (argc < 2 || neap_has(argv[1]) == 0) {
        fprintf(stderr, "not run: %s is not built in\n", argc > 1 ? argv[1] : "no backend");
        return NOT_BUILT;
    }
    int32_t rc = neap_loop_new(&options, &loop);
    if (rc == NEAP_ENOTSUP) {
        fprintf(stderr, "not run: this machine refuses %s\n", argv[1]);
        return REFUSED;
    }
    neap_loop_unref(loop);
    if (rc == 0 && argc > 2)
        execvp(argv[2], argv + 2);
    return rc < 0 || argc > 2;
}
