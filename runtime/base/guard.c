#include "base/guard.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096

int np_guard_init(np_guard *g) {
    void *page = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return -errno;
    g->wiped_on_fork = madvise(page, PAGE_BYTES, MADV_WIPEONFORK) == 0;
    g->pid = getpid();
    g->page = page;
    *g->page = 1;
    return 0;
}

void np_guard_fini(np_guard *g) {
    if (g->page != NULL)
        (void)munmap((void *)g->page, PAGE_BYTES);
    g->page = NULL;
}

bool np_guard_slow_check(np_guard *g) {
    if (!g->wiped_on_fork && getpid() != g->pid)
        *g->page = 0;
    return np_guard_forked(g);
}
