#include "sys/addrs.h"

#include <string.h>

#include "base/fd.h"

static const char tag;

static char *put_text(char *to, const char *text, size_t size, const char **ret_text) {
    *ret_text = text == NULL ? NULL : memcpy(to, text, size);
    return to + size;
}

neap_addrs *np_addrs_new(np_alloc *alloc, uint32_t count, const char *name, const char *service) {
    size_t at = offsetof(neap_addrs, at) + count * sizeof(neap_addr);
    size_t name_size = name != NULL ? strlen(name) + 1 : 0;
    size_t service_size = service != NULL ? strlen(service) + 1 : 0;
    size_t size = at + name_size + service_size;
    neap_addrs *a = np_alloc_get(alloc, size);
    if (a == NULL)
        return NULL;
    a->alloc = np_alloc_ref(alloc);
    atomic_init(&a->refs, 1);
    a->size = size;
    a->count = count;
    char *text = put_text((char *)a + at, name, name_size, &a->name);
    (void)put_text(text, service, service_size, &a->service);
    return a;
}

neap_addrs *np_addrs_at_port(neap_addrs *addrs, uint16_t port) {
    if (neap_addr_port(&addrs->at[0]) == port)
        return neap_addrs_ref(addrs);
    neap_addrs *a = np_addrs_new(addrs->alloc, addrs->count, addrs->name, addrs->service);
    for (uint32_t i = 0; a != NULL && i < a->count; i++) {
        a->at[i] = addrs->at[i];
        np_addr_set_port(&a->at[i], port);
    }
    return a;
}

size_t neap_addrs_count(const neap_addrs *addrs) {
    return addrs->count;
}

int32_t neap_addrs_get(const neap_addrs *addrs, size_t index, neap_addr *ret_addr) {
    if (addrs == NULL || ret_addr == NULL || index >= addrs->count)
        return NEAP_EINVAL;
    *ret_addr = addrs->at[index];
    return 0;
}

const char *neap_addrs_name(const neap_addrs *addrs) {
    return addrs->name;
}

const char *neap_addrs_service(const neap_addrs *addrs) {
    return addrs->service;
}

neap_addrs *neap_addrs_ref(neap_addrs *addrs) {
    atomic_fetch_add_explicit(&addrs->refs, 1, memory_order_relaxed);
    return addrs;
}

void neap_addrs_unref(neap_addrs *addrs) {
    if (addrs == NULL || atomic_fetch_sub_explicit(&addrs->refs, 1, memory_order_acq_rel) != 1)
        return;
    np_alloc *alloc = addrs->alloc;
    np_alloc_put(alloc, addrs, addrs->size);
    np_alloc_unref(alloc);
}

static void drop(void *addrs) {
    neap_addrs_unref(addrs);
}

void np_addrs_give(neap_addrs *addrs, neap_future *f) {
    f->kind = NEAP_KIND_PTR;
    f->value.ptr.tag = &tag;
    f->value.ptr.ptr = addrs;
    f->value.ptr.destroy = drop;
}

int32_t neap_future_get_addrs(neap_future *future, neap_addrs **ret_addrs) {
    void *addrs;
    int32_t rc = ret_addrs == NULL ? NEAP_EINVAL : neap_future_get_ptr(future, &tag, &addrs);
    if (rc == 0)
        *ret_addrs = addrs;
    return rc;
}
