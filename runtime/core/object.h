/* object.h: what every handle begins with: its loop, its type, its references.

   References from outside (`outer`, any thread) are counted atomically; all of them together hold one inner reference.
   Inner references are plain counters of the loop's thread.  When the last outer reference goes on another thread, the
   object travels to the loop in a mail inside itself, so letting go can't fail.  The lowest bit of `outer` says that it
   is on its way; until it has arrived nobody puts it there again, and nobody but the loop's thread touches it:
   - on the loop's thread:   count 1 -> 0, not queued: the inner reference goes here.
   - on another thread:      (1, not queued) -> (0, queued) in one step, then the mail is put.
   - (1, queued) -> (0, queued) by anybody: nothing more; whoever handles the mail finds the count 0.
   Only the loop's thread can raise the count from 0, because only there a borrowed pointer is valid, and who has the only
   reference is alone with it: from 0 to 1 and back, on the loop's thread, nothing has to be atomic.

   Whatever else travels by mail, posts and completions, begins with an np_obj that only carries the mail and the type. */
#ifndef NP_OBJECT_H
#define NP_OBJECT_H

#include <stdatomic.h>

#include "base/mailbox.h"

typedef struct np_obj np_obj;

typedef struct np_type {
    const char *name;
    void (*destroy)(np_obj *obj);   /* the last inner reference went; frees the memory */
    void (*abandoned)(np_obj *obj); /* the last outer reference went; may be NULL */
    /* Of what was mailed for another reason than its last outer reference; `discard`: only free. */
    void (*arrived)(np_obj *obj, bool discard);
    uint64_t (*holder)(
        const np_obj *obj); /* number of the task that has it, for reports; may be NULL */
} np_type;

struct np_obj {
    neap_loop *loop; /* its memory outlives the object */
    const np_type *type;
    atomic_uint outer; /* twice the count, plus 1 while the mail is on its way */
    uint32_t refs;     /* inner references; one of them stands for all outer ones */
    np_mail mail;
};

#define NP_OUTER_ONE 2u
#define NP_OUTER_QUEUED 1u

/* Memory for an object of the loop, zeroed, with one inner reference and no outer one; NULL when there is none. */
void *np_obj_new(neap_loop *loop, const np_type *type, size_t size);
void np_obj_free(np_obj *obj, size_t size);

/* Makes zeroed memory from np_alloc_get an object, which ends with np_obj_free_own. */
void np_obj_init(np_obj *obj, neap_loop *loop, const np_type *type);
void np_obj_free_own(np_obj *obj, size_t size);

/* Hands mail to the object that it is in. */
void np_obj_deliver(np_mail *mail, bool discard);

/* Turns the creator's inner reference into the first outer one. */
void np_obj_publish(np_obj *obj);

void np_obj_outer_ref(np_obj *obj);
void np_obj_outer_unref(np_obj *obj);

static inline void np_obj_ref(np_obj *obj) {
    obj->refs++;
}

static inline void np_obj_unref(np_obj *obj) {
    if (--obj->refs == 0)
        obj->type->destroy(obj);
}

#endif
