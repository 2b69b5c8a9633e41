#include "base/pin.h"

#include <dlfcn.h>

/* The mark outlives the handle. */
void np_pin(const void *code) {
    Dl_info info;
    if (dladdr(code, &info) == 0 || info.dli_fname == NULL)
        return;
    void *library = dlopen(info.dli_fname, RTLD_LAZY | RTLD_NOLOAD | RTLD_NODELETE);
    if (library != NULL)
        (void)dlclose(library);
}
