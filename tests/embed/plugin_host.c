/* plugin_host: a program that does not know neap loads it as a plugin would: opens the library, uses
   it, and unloads it without a trace; and two copies of the library in one process do not disturb
   each other.  Usage: plugin_host LIBRARY */
#include <neap.h>

#include <dirent.h>
#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CHECK(condition)                                                         \
    do {                                                                         \
        if (!(condition)) {                                                      \
            fprintf(stderr, "plugin_host: line %d: %s\n", __LINE__, #condition); \
            exit(1);                                                             \
        }                                                                        \
    } while (0)

/* What the host needs of a copy of the library. */
typedef struct copy {
    void *library;
    int32_t (*loop_new)(const neap_loop_options *options, neap_loop **ret_loop);
    int32_t (*loop_close)(neap_loop *loop, uint32_t flags);
    void (*loop_unref)(neap_loop *loop);
    int32_t (*run_once)(neap_loop *loop, int64_t timeout_ns);
    int32_t (*post)(neap_loop *loop, neap_fn fn, void *user, neap_destroy_fn destroy);
    int32_t (*later)(neap_loop *loop, int64_t delay_ns, neap_fn fn, void *user,
                     neap_destroy_fn destroy, neap_handle **ret_handle);
    int32_t (*signal_watch)(neap_loop *loop, int32_t signo, uint32_t flags, neap_signal_fn fn,
                            void *user, neap_destroy_fn destroy, neap_handle **ret_handle);
    int32_t (*pair)(neap_loop *loop, int32_t sort, neap_sock **ret_a, neap_sock **ret_b);
    int32_t (*recv)(neap_sock *sock, void *data, size_t len, uint32_t flags, neap_future **f);
    int32_t (*send)(neap_sock *sock, const void *data, size_t len, uint32_t flags, neap_future **f);
    void (*sock_unref)(neap_sock *sock);
    void (*future_unref)(neap_future *future);
    int32_t (*future_done)(const neap_future *future);
} copy;

static void find(void *library, const char *name, void *ret_function) {
    void *function = dlsym(library, name);
    CHECK(function != NULL);
    memcpy(ret_function, &function, sizeof function);
}

static void open_copy(copy *c, void *library) {
    if (library == NULL)
        fprintf(stderr, "plugin_host: %s\n", dlerror());
    CHECK(library != NULL);
    c->library = library;
    find(library, "neap_loop_new", &c->loop_new);
    find(library, "neap_loop_close", &c->loop_close);
    find(library, "neap_loop_unref", &c->loop_unref);
    find(library, "neap_loop_run_once", &c->run_once);
    find(library, "neap_loop_post", &c->post);
    find(library, "neap_call_later", &c->later);
    find(library, "neap_signal_watch", &c->signal_watch);
    find(library, "neap_sock_pair", &c->pair);
    find(library, "neap_sock_recv", &c->recv);
    find(library, "neap_sock_send", &c->send);
    find(library, "neap_sock_unref", &c->sock_unref);
    find(library, "neap_future_unref", &c->future_unref);
    find(library, "neap_future_done", &c->future_done);
}

/* ---- One use of a copy --------------------------------------------------------------------- */

typedef struct use {
    copy *c;
    neap_loop *loop;
    int posted;
    int fired;
    int signalled;
} use;

static void on_post(void *user) {
    ((use *)user)->posted++;
}

static void on_timer(void *user) {
    ((use *)user)->fired++;
}

static void on_signal(int32_t signo, void *user) {
    (void)signo;
    ((use *)user)->signalled++;
}

static void *post_one(void *user) {
    use *u = user;
    CHECK(u->c->post(u->loop, on_post, u, NULL) == 0);
    return NULL;
}

static void use_begin(use *u, copy *c, uint32_t signal_flags) {
    neap_loop_options options = {.size = sizeof options, .backend = getenv("NEAP_TEST_BACKEND")};
    memset(u, 0, sizeof *u);
    u->c = c;
    CHECK(c->loop_new(&options, &u->loop) == 0);
    CHECK(c->signal_watch(u->loop, SIGUSR1, signal_flags, on_signal, u, NULL, NULL) == 0);
    CHECK(c->later(u->loop, 1000000, on_timer, u, NULL, NULL) == 0);
}

static void use_sockets(use *u) {
    neap_sock *a;
    neap_sock *b;
    neap_future *future = NULL;
    neap_future *none = NULL;
    char buf[8];
    CHECK(u->c->pair(u->loop, NEAP_UNIX, &a, &b) == 0);
    CHECK(u->c->recv(a, buf, sizeof buf, 0, &future) == NEAP_PENDING);
    CHECK(u->c->send(b, "hello", 5, 0, &none) == 5);
    while (!u->c->future_done(future))
        CHECK(u->c->run_once(u->loop, -1) >= 0);
    u->c->future_unref(future);
    u->c->sock_unref(a);
    u->c->sock_unref(b);
}

static void use_end(use *u) {
    CHECK(u->c->loop_close(u->loop, 0) == 0);
    u->c->loop_unref(u->loop);
}

static void use_thread(use *u) {
    pthread_t thread;
    CHECK(pthread_create(&thread, NULL, post_one, u) == 0);
    while (u->posted == 0 || u->fired == 0)
        CHECK(u->c->run_once(u->loop, -1) >= 0);
    CHECK(pthread_join(thread, NULL) == 0);
}

/* A sanitizer cannot be loaded twice, and may keep a library that was closed. */
static int under_sanitizer(void) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
    return 1;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return 1;
#endif
#endif
    return 0;
}

/* ---- The process --------------------------------------------------------------------------- */

static int count_descriptors(void) {
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int count_threads(void) {
    DIR *dir = opendir("/proc/self/task");
    int n = 0;
    CHECK(dir != NULL);
    while (readdir(dir) != NULL)
        n++;
    closedir(dir);
    return n;
}

static int is_mapped(const char *path) {
    char line[4096];
    char real[4096];
    int found = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    CHECK(maps != NULL && realpath(path, real) != NULL);
    while (fgets(line, sizeof line, maps) != NULL)
        found |= strstr(line, real) != NULL;
    fclose(maps);
    return found;
}

static void unloading_leaves_no_trace(const char *path) {
    struct sigaction before;
    struct sigaction after;
    int descriptors = count_descriptors();
    int threads = count_threads();
    CHECK(sigaction(SIGUSR1, NULL, &before) == 0);
    for (int i = 0; i < 3; i++) {
        copy c;
        use u;
        open_copy(&c, dlopen(path, RTLD_NOW | RTLD_LOCAL));
        CHECK(is_mapped(path));
        use_begin(&u, &c, 0);
        use_sockets(&u);
        CHECK(raise(SIGUSR1) == 0);
        use_thread(&u);
        while (u.signalled == 0)
            CHECK(c.run_once(u.loop, -1) >= 0);
        use_end(&u);
        CHECK(dlclose(c.library) == 0);
        CHECK(under_sanitizer() || !is_mapped(path));
        CHECK(sigaction(SIGUSR1, NULL, &after) == 0);
        CHECK(after.sa_handler == before.sa_handler);
        CHECK(count_descriptors() == descriptors);
        for (int j = 0; j < 1000 && count_threads() != threads; j++)
            usleep(1000); /* a joined thread may still be on its way out */
        CHECK(under_sanitizer() || count_threads() == threads);
    }
    puts("unloading leaves no trace");
}

/* Two copies, each with a table of signals of its own: the later one chains to the earlier. */
static void two_copies_live_side_by_side(const char *path) {
    copy one;
    copy two;
    use u;
    use v;
    open_copy(&one, dlopen(path, RTLD_NOW | RTLD_LOCAL));
    open_copy(&two, dlmopen(LM_ID_NEWLM, path, RTLD_NOW | RTLD_LOCAL));
    CHECK(one.loop_new != two.loop_new);
    use_begin(&u, &one, 0);
    use_begin(&v, &two, NEAP_SIGNAL_CHAIN);
    use_sockets(&u);
    use_sockets(&v);
    use_thread(&u);
    use_thread(&v);
    CHECK(raise(SIGUSR1) == 0);
    while (u.signalled == 0)
        CHECK(one.run_once(u.loop, -1) >= 0);
    while (v.signalled == 0)
        CHECK(two.run_once(v.loop, -1) >= 0);
    CHECK(u.signalled == 1 && v.signalled == 1);
    use_end(&v);
    use_end(&u);
    CHECK(dlclose(two.library) == 0);
    CHECK(dlclose(one.library) == 0);
    puts("two copies live side by side");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        fprintf(stderr, "usage: plugin_host LIBRARY\n");
        return 2;
    }
    alarm(60);
    unloading_leaves_no_trace(argv[1]);
    if (under_sanitizer())
        puts("a sanitizer cannot be loaded twice: two copies are not tried");
    else
        two_copies_live_side_by_side(argv[1]);
    return 0;
}
