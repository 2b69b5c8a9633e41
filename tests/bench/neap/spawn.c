/* Processes, one after the other: /bin/true is started and awaited by posix_spawn and waitpid, through neap's C interface,
   and by a command that prints its own ns per process (neap's Lua interface).  Interleaved rounds; medians, also of
   the ratios to posix_spawn in the same round.
     spawn [--rounds N] [--count N] [--host MiB] [COMMAND...]
   --host: memory that the parent has touched, which a fork would copy the tables of. */
#include <neap.h>

#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

enum {
    ROUNDS_MAX = 1000
};

static char *const args[] = {"/bin/true", NULL};

static double now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void die(const char *what) {
    fprintf(stderr, "spawn: %s\n", what);
    exit(1);
}

static double by_posix_spawn(int count) {
    double began = now_ns();
    for (int i = 0; i < count; i++) {
        pid_t pid;
        int status;
        if (posix_spawn(&pid, args[0], NULL, NULL, args, environ) != 0 ||
            waitpid(pid, &status, 0) != pid || status != 0)
            die("posix_spawn");
    }
    return (now_ns() - began) / count;
}

static double by_neap(neap_loop *loop, int count, double *ret_held_ns) {
    neap_process_options o = {.size = sizeof o, .args = (const char *const *)args};
    double began = now_ns(), held = 0;
    for (int i = 0; i < count; i++) {
        neap_process *process;
        neap_future *ended;
        double start = now_ns();
        if (neap_process_spawn(loop, &o, &process) < 0)
            die("neap_process_spawn");
        held += now_ns() - start;
        if (neap_process_wait(process, &ended) == NEAP_PENDING) {
            neap_loop_run_until(loop, ended);
            neap_future_unref(ended);
        }
        neap_process_unref(process);
    }
    *ret_held_ns = held / count;
    return (now_ns() - began) / count;
}

static double by_command(const char *command) {
    double ns = 0;
    FILE *out = popen(command, "r");
    if (out == NULL || fscanf(out, "%lf", &ns) != 1 || pclose(out) != 0)
        die(command);
    return ns;
}

static int ascending(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, int n) {
    qsort(values, (size_t)n, sizeof *values, ascending);
    return values[n / 2];
}

static void show(const char *name, const double *ns, const double *reference, int rounds) {
    static double values[ROUNDS_MAX], ratios[ROUNDS_MAX];
    for (int r = 0; r < rounds; r++) {
        values[r] = ns[r];
        ratios[r] = ns[r] / reference[r];
    }
    printf("%-24s %8.1f us  %5.2f\n", name, median(values, rounds) / 1e3, median(ratios, rounds));
}

int main(int argc, char **argv) {
    static double posix[ROUNDS_MAX], neap[ROUNDS_MAX], held[ROUNDS_MAX], other[ROUNDS_MAX];
    int rounds = 8, count = 1000, i = 1;
    char command[4096] = "";
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        int n = atoi(argv[i + 1]);
        if (strcmp(argv[i], "--rounds") == 0)
            rounds = n > ROUNDS_MAX ? ROUNDS_MAX : n;
        else if (strcmp(argv[i], "--count") == 0)
            count = n;
        else if (strcmp(argv[i], "--host") == 0)
            memset(malloc((size_t)n << 20), 1, (size_t)n << 20);
    }
    for (; i < argc; i++)
        snprintf(command + strlen(command), sizeof command - strlen(command), "%s ", argv[i]);
    neap_loop *loop;
    if (neap_loop_new(NULL, &loop) < 0)
        die("no loop");
    for (int r = 0; r < rounds; r++) {
        posix[r] = by_posix_spawn(count);
        neap[r] = by_neap(loop, count, &held[r]);
        if (*command != '\0')
            other[r] = by_command(command);
    }
    neap_loop_unref(loop);
    show("posix_spawn, waitpid", posix, posix, rounds);
    show("neap, C interface", neap, posix, rounds);
    show("  of it in the call", held, posix, rounds);
    if (*command != '\0')
        show("command", other, posix, rounds);
    return 0;
}
