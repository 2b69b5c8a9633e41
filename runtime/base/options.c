#include "base/options.h"

#include <string.h>

int32_t np_options_read(void *to, size_t known, const void *from) {
    size_t size;
    memset(to, 0, known);
    if (from == NULL)
        return 0;
    memcpy(&size, from, sizeof size);
    if (size < sizeof size)
        return NEAP_EINVAL;
    for (size_t i = known; i < size; i++)
        if (((const unsigned char *)from)[i] != 0)
            return NEAP_E2BIG;
    memcpy(to, from, size < known ? size : known);
    return 0;
}
