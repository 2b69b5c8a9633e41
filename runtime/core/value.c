/* value.c: setting and reading the outcome of a future, on the loop's thread and from others. */
#include <string.h>

#include "core/buf.h"
#include "core/future.h"
#include "core/task.h"

/* ---- Setting */

/* May this caller set the outcome of f?  A task's is set by its own step and counts when the step is done. */
static int32_t may_set(neap_future *f) {
    if (f == NULL)
        return NEAP_EINVAL;
    int32_t rc = np_enter(f->obj.loop);
    if (rc < 0)
        return rc;
    if (!np_future_pending(f))
        return NEAP_EINVALID_STATE;
    if (f->is_task)
        return !np_task_in_step((neap_task *)(void *)f) ? NEAP_ETASK_OWNED
               : (f->flags & NP_F_STAGED) != 0          ? NEAP_EINVALID_STATE
                                                        : 0;
    return (f->flags & NP_F_ACTIVE) != 0 ? NEAP_EINVALID_STATE
                                         : 0; /* the runtime's own to complete */
}

static int32_t finish(neap_future *f, uint8_t state) {
    if (f->is_task)
        np_task_stage((neap_task *)(void *)f, state);
    else
        np_future_settle(f, state);
    return 0;
}

int32_t neap_future_set_none(neap_future *future) {
    int32_t rc = may_set(future);
    return rc < 0 ? rc : finish(future, NEAP_STATE_RESULT);
}

static int32_t set_int(neap_future *f, int64_t value, uint8_t kind) {
    int32_t rc = may_set(f);
    if (rc < 0)
        return rc;
    f->kind = kind;
    f->value.i = value;
    return finish(f, NEAP_STATE_RESULT);
}

int32_t neap_future_set_int(neap_future *future, int64_t value) {
    return set_int(future, value, NEAP_KIND_INT);
}

int32_t neap_future_set_bool(neap_future *future, int32_t value) {
    return set_int(future, value != 0, NEAP_KIND_BOOL);
}

int32_t neap_future_set_double(neap_future *future, double value) {
    int32_t rc = may_set(future);
    if (rc < 0)
        return rc;
    future->kind = NEAP_KIND_DOUBLE;
    future->value.d = value;
    return finish(future, NEAP_STATE_RESULT);
}

/* One byte more than asked for, so that text ends with a zero. */
static void *copy_bytes(neap_loop *loop, const void *data, size_t len) {
    char *copy = len > SIZE_MAX / 2 ? NULL : np_alloc_get(loop->alloc, len + 1);
    if (copy != NULL) {
        if (len > 0)
            memcpy(copy, data, len);
        copy[len] = '\0';
    }
    return copy;
}

int32_t neap_future_set_bytes(neap_future *future, const void *data, size_t len) {
    int32_t rc = data == NULL && len > 0 ? NEAP_EINVAL : may_set(future);
    if (rc < 0)
        return rc;
    void *copy = copy_bytes(future->obj.loop, data, len);
    if (copy == NULL)
        return NEAP_ENOMEM;
    future->kind = NEAP_KIND_BYTES;
    future->value.bytes.data = copy;
    future->value.bytes.len = len;
    return finish(future, NEAP_STATE_RESULT);
}

static int32_t set_ptr(neap_future *f, uint8_t kind, const void *tag, void *ptr,
                       neap_destroy_fn destroy) {
    int32_t rc = may_set(f);
    if (rc < 0) {
        if (destroy != NULL)
            destroy(ptr);
        return rc;
    }
    f->kind = kind;
    f->value.ptr.tag = tag;
    f->value.ptr.ptr = ptr;
    f->value.ptr.destroy = destroy;
    return 0;
}

int32_t neap_future_set_ptr(neap_future *future, const void *tag, void *ptr,
                            neap_destroy_fn destroy) {
    int32_t rc = set_ptr(future, NEAP_KIND_PTR, tag, ptr, destroy);
    return rc < 0 ? rc : finish(future, NEAP_STATE_RESULT);
}

int32_t neap_future_set_error(neap_future *future, int32_t code, const char *message) {
    int32_t rc = code >= 0 || code == NEAP_PENDING ? NEAP_EINVAL : may_set(future);
    if (rc < 0)
        return rc;
    future->code = code;
    np_future_set_message(future, message);
    return finish(future, NEAP_STATE_ERROR);
}

int32_t neap_future_set_exception(neap_future *future, int32_t code, const char *message,
                                  const void *tag, void *ptr, neap_destroy_fn destroy) {
    int32_t rc = set_ptr(future, NP_KIND_EXCEPTION, tag, ptr, destroy);
    if (rc < 0)
        return rc;
    future->code = code < 0 && code != NEAP_PENDING ? code : NEAP_EFOREIGN;
    np_future_set_message(future, message);
    return finish(future, NEAP_STATE_ERROR);
}

/* ---- Setting from other threads */

typedef struct post {
    np_obj obj;
    neap_future *future; /* an outer reference */
    np_alloc *alloc;     /* kept: the mail may be discarded when the loop's memory goes */
    int32_t code;        /* of a failure, or the kind of a result */
    int64_t i;
    const void *tag;
    void *ptr;
    neap_destroy_fn destroy;
    size_t len;
    char text[]; /* of a failure */
} post;

/* The bytes were copied by the poster, so that this needs no memory. */
static void set_buf(neap_future *f, neap_buf *buf) {
    if (may_set(f) < 0)
        return;
    f->kind = NP_KIND_BUF;
    f->value.buf = neap_buf_ref(buf);
    finish(f, NEAP_STATE_RESULT);
}

static void drop_buf(void *buf) {
    neap_buf_unref(buf);
}

static void apply(post *p) {
    neap_future *f = p->future;
    if (p->code == NEAP_KIND_INT)
        (void)neap_future_set_int(f, p->i);
    else if (p->code == NEAP_KIND_BYTES)
        set_buf(f, p->ptr);
    else if (p->code < 0)
        (void)neap_future_set_error(f, p->code, p->len > 0 ? p->text : NULL);
    else
        (void)neap_future_set_ptr(f, p->tag, p->ptr, p->destroy);
}

static void arrived(np_obj *obj, bool discard) {
    post *p = np_container(obj, post, obj);
    np_alloc *alloc = p->alloc;
    if (!discard)
        apply(p);
    if (p->destroy != NULL && (discard || p->code == NEAP_KIND_BYTES))
        p->destroy(p->ptr);
    neap_future_unref(p->future);
    np_alloc_put(alloc, p, sizeof *p + p->len);
    np_alloc_unref(alloc);
}

static const np_type post_type = {.name = "completion", .arrived = arrived};

static post *make_post(neap_future *f, int32_t code, const void *data, size_t len) {
    np_alloc *alloc = f->obj.loop->alloc;
    post *p = len > SIZE_MAX / 2 ? NULL : np_alloc_get(alloc, sizeof *p + len);
    if (p == NULL)
        return NULL;
    *p = (post){.obj.type = &post_type,
                .future = neap_future_ref(f),
                .alloc = np_alloc_ref(alloc),
                .code = code,
                .len = len};
    if (len > 0)
        memcpy(p->text, data, len);
    return p;
}

static int32_t send(post *p) {
    if (p == NULL)
        return NEAP_ENOMEM;
    neap_loop *loop = p->future->obj.loop;
    int32_t rc = np_enter_any(loop);
    if (rc < 0) {
        arrived(&p->obj, true);
        return rc;
    }
    if (!np_mailbox_put(&loop->mail, &p->obj.mail)) {
        arrived(&p->obj, true);
        return NEAP_ELOOP_CLOSED;
    }
    np_loop_wake_if_asleep(loop);
    return 0;
}

int32_t neap_future_post_int(neap_future *future, int64_t value) {
    if (future == NULL)
        return NEAP_EINVAL;
    post *p = make_post(future, NEAP_KIND_INT, NULL, 0);
    if (p != NULL)
        p->i = value;
    return send(p);
}

int32_t neap_future_post_bytes(neap_future *future, const void *data, size_t len) {
    if (future == NULL || (data == NULL && len > 0))
        return NEAP_EINVAL;
    neap_buf *buf;
    int32_t rc = neap_buf_new(future->obj.loop, data, len, &buf);
    if (rc < 0)
        return rc;
    post *p = make_post(future, NEAP_KIND_BYTES, NULL, 0);
    if (p == NULL) {
        neap_buf_unref(buf);
        return NEAP_ENOMEM;
    }
    p->ptr = buf;
    p->destroy = drop_buf;
    return send(p);
}

int32_t neap_future_post_ptr(neap_future *future, const void *tag, void *ptr,
                             neap_destroy_fn destroy) {
    post *p = future == NULL ? NULL : make_post(future, NEAP_KIND_PTR, NULL, 0);
    if (p == NULL) {
        if (destroy != NULL)
            destroy(ptr);
        return future == NULL ? NEAP_EINVAL : NEAP_ENOMEM;
    }
    p->tag = tag;
    p->ptr = ptr;
    p->destroy = destroy;
    return send(p);
}

int32_t neap_future_post_error(neap_future *future, int32_t code, const char *message) {
    if (future == NULL || code >= 0 || code == NEAP_PENDING)
        return NEAP_EINVAL;
    return send(make_post(future, code, message, message != NULL ? strlen(message) + 1 : 0));
}

/* ---- Reading */

int32_t neap_future_state(const neap_future *future) {
    int32_t rc = np_look(future->obj.loop);
    return rc < 0 ? rc : future->state;
}

int32_t neap_future_done(const neap_future *future) {
    int32_t rc = np_look(future->obj.loop);
    return rc < 0 ? rc : !np_future_pending(future);
}

static int32_t outcome_code(const neap_future *f) {
    if (np_likely(f->state == NEAP_STATE_RESULT))
        return 0;
    if (f->state == NEAP_STATE_PENDING)
        return NEAP_EPENDING;
    return f->state == NEAP_STATE_CANCELLED ? NEAP_ECANCELED : f->code;
}

/* The future that has the value, if this is a result; marks a failure as seen. */
static int32_t look_at(neap_future *f, neap_future **ret_origin) {
    int32_t rc = f == NULL ? NEAP_EINVAL : np_look(f->obj.loop);
    *ret_origin = f;
    if (rc < 0)
        return rc;
    np_future_seen(f);
    *ret_origin = np_future_origin(f);
    return outcome_code(*ret_origin);
}

static int32_t look_for(neap_future *f, uint8_t kind, neap_future **ret_origin) {
    int32_t rc = look_at(f, ret_origin);
    return rc < 0 ? rc : (*ret_origin)->kind != kind ? NEAP_ETYPE : 0;
}

int32_t neap_future_error(neap_future *future) {
    neap_future *o;
    return look_at(future, &o);
}

static bool has_bytes(const neap_future *o) {
    return o->kind == NEAP_KIND_BYTES ||
           (o->kind >= NP_KIND_FIRST_BYTES && o->kind <= NP_KIND_LAST_BYTES);
}

static void read_bytes(const neap_future *o, const void **ret_data, size_t *ret_len) {
    if (o->kind == NP_KIND_BUF) {
        *ret_data = neap_buf_data(o->value.buf);
        *ret_len = neap_buf_len(o->value.buf);
    } else if (o->kind == NP_KIND_SLICE) {
        *ret_data = o->value.slice.data;
        *ret_len = o->value.slice.len;
    } else {
        *ret_data = o->value.bytes.data;
        *ret_len = o->value.bytes.len;
    }
}

int32_t neap_future_kind(neap_future *future) {
    neap_future *o;
    int32_t rc = look_at(future, &o);
    if (rc < 0)
        return rc;
    return has_bytes(o) ? NEAP_KIND_BYTES : o->kind;
}

int32_t neap_future_value(neap_future *future, neap_value *ret_value, size_t size) {
    neap_future *o;
    int32_t rc = size < sizeof *ret_value ? NEAP_EINVAL : look_at(future, &o);
    if (rc < 0)
        return rc;
    memset(ret_value, 0, sizeof *ret_value);
    if (o->kind == NEAP_KIND_INT || o->kind == NEAP_KIND_BOOL) {
        ret_value->i = o->value.i;
    } else if (has_bytes(o)) {
        read_bytes(o, &ret_value->bytes.data, &ret_value->bytes.len);
        return NEAP_KIND_BYTES;
    } else if (o->kind == NEAP_KIND_DOUBLE) {
        ret_value->d = o->value.d;
    } else if (o->kind == NEAP_KIND_PTR) {
        ret_value->ptr.tag = o->value.ptr.tag;
        ret_value->ptr.ptr = o->value.ptr.ptr;
    }
    return o->kind;
}

int32_t neap_future_get_int(neap_future *future, int64_t *ret_value) {
    neap_future *o;
    int32_t rc = look_for(future, NEAP_KIND_INT, &o);
    if (rc == 0)
        *ret_value = o->value.i;
    return rc;
}

int32_t neap_future_get_double(neap_future *future, double *ret_value) {
    neap_future *o;
    int32_t rc = look_for(future, NEAP_KIND_DOUBLE, &o);
    if (rc == 0)
        *ret_value = o->value.d;
    return rc;
}

int32_t neap_future_get_bool(neap_future *future, int32_t *ret_value) {
    neap_future *o;
    int32_t rc = look_for(future, NEAP_KIND_BOOL, &o);
    if (rc == 0)
        *ret_value = (int32_t)o->value.i;
    return rc;
}

int32_t neap_future_get_bytes(neap_future *future, const void **ret_data, size_t *ret_len) {
    neap_future *o;
    int32_t rc = look_at(future, &o);
    if (rc < 0)
        return rc;
    if (!has_bytes(o))
        return NEAP_ETYPE;
    read_bytes(o, ret_data, ret_len);
    return 0;
}

int32_t neap_future_get_ptr(neap_future *future, const void *tag, void **ret_ptr) {
    neap_future *o;
    int32_t rc = look_for(future, NEAP_KIND_PTR, &o);
    if (rc == 0 && o->value.ptr.tag != tag)
        rc = NEAP_ETYPE;
    if (rc == 0)
        *ret_ptr = o->value.ptr.ptr;
    return rc;
}

int32_t neap_future_take_sock(neap_future *future, neap_sock **ret_sock) {
    neap_future *o;
    int32_t rc = look_for(future, NEAP_KIND_SOCK, &o);
    if (rc < 0)
        return rc;
    if (o->value.sock == NULL)
        return NEAP_EINVALID_STATE;
    *ret_sock = o->value.sock;
    o->value.sock = NULL;
    return 0;
}

int32_t neap_future_take_file(neap_future *future, neap_file **ret_file) {
    neap_future *o;
    int32_t rc = look_for(future, NEAP_KIND_FILE, &o);
    if (rc < 0)
        return rc;
    if (o->value.file == NULL)
        return NEAP_EINVALID_STATE;
    *ret_file = o->value.file;
    o->value.file = NULL;
    return 0;
}

const char *neap_future_message(neap_future *future) {
    if (np_look(future->obj.loop) < 0)
        return "";
    neap_future *o = np_future_origin(future);
    if (o->extra != NULL && o->extra->message != NULL)
        return o->extra->message;
    return o->state == NEAP_STATE_ERROR ? neap_strerror(o->code) : "";
}

void *neap_future_exception(neap_future *future, const void *tag) {
    neap_future *o;
    if (look_at(future, &o) >= 0 || o == NULL || o->kind != NP_KIND_EXCEPTION ||
        o->value.ptr.tag != tag)
        return NULL;
    return o->value.ptr.ptr;
}

int64_t neap_future_partial(neap_future *future) {
    int32_t rc = np_look(future->obj.loop);
    neap_future *o = np_future_origin(future);
    return rc < 0 ? rc : o->kind == NP_KIND_PARTIAL ? o->value.i : 0;
}
