/* ready.c: readiness to operations.

   Each descriptor has a bit per direction that says "the kernel has not said no since the last edge".  While it is set
   an operation is tried at once, while it is clear an operation waits for the next announcement without a system call.
   A bit is cleared by EAGAIN once the direction is watched; on a TCP socket also by a short read, unless an event has carried RDHUP, HUP, ERR or PRI:
   behind those stands something that only another recv shows. */
#include "io/ready.h"

static void clear_bits(np_desc *desc, unsigned bits) {
    desc->bits = (uint16_t)(desc->bits & ~bits);
}

static void note_recv(np_desc *desc, const np_op *op, int64_t result) {
    bool drained = (desc->bits & (NP_D_STREAM | NP_D_STICKY)) == NP_D_STREAM;
    if (result <= 0)
        clear_bits(desc, NP_D_HUP);
    else if (drained && (size_t)result < op->len)
        clear_bits(desc, NP_D_READ);
}

static bool receives(const np_op *op) {
    return op->kind == NP_OP_RECV || op->kind == NP_OP_RECV_MANY || op->kind == NP_OP_RECV_FDS;
}

/* Makes the call and keeps the bits true.  Until the kernel announces edges nothing would set a bit again, so all stay. */
static int64_t try_op(np_io *io, np_desc *desc, np_op *op) {
    io->stirred = true;
    if (np_unlikely((desc->bits & NP_D_FED) != 0) && op->dir == NP_DIR_READ)
        return io->backend->take(io, op);
    int64_t result = np_op_attempt(op);
    if ((desc->bits & np_watched_bit(op->dir)) == 0)
        return result;
    if (result == NP_WAIT) {
        if (op->dir == NP_DIR_WRITE || (desc->bits & NP_D_HUP) == 0)
            clear_bits(desc, np_dir_bit(op->dir));
    } else if (receives(op)) {
        note_recv(desc, op, result);
    }
    return result;
}

static void complete(np_io *io, np_op *op, int64_t result) {
    np_list_unlink(&op->link);
    op->state = NP_OP_IDLE;
    op->result = result;
    io->parked--;
    np_list_append(&io->completed, &op->link);
}

/* Answers all who only asked for readiness; they consume nothing. */
static void serve_polls(np_io *io, np_list *queue, int64_t event) {
    for (np_list *at = queue->next, *next; at != queue; at = next) {
        np_op *op = np_container(at, np_op, link);
        next = at->next;
        if (op->kind == NP_OP_POLL)
            complete(io, op, event);
    }
}

static void serve(np_io *io, np_desc *desc, int dir) {
    np_list *queue = &desc->queue[dir];
    while (!np_list_empty(queue) && (desc->bits & np_dir_bit(dir)) != 0) {
        np_op *op = np_container(queue->next, np_op, link);
        if (op->state == NP_OP_ARMED)
            return;
        if (op->arm != NULL) {
            op->state = NP_OP_ARMED;
            if (op->arm(op))
                return;
            op->state = NP_OP_PARKED;
        }
        if (op->arm != NULL && op->buf == NULL) { /* no memory for its copy: nothing was taken */
            complete(io, op, NEAP_ENOMEM);
            continue;
        }
        int64_t result = try_op(io, desc, op);
        if (result == NP_WAIT)
            return;
        complete(io, op, result);
    }
}

void np_ready_event(np_io *io, uint32_t fd, uint32_t generation, unsigned events) {
    if (fd >= io->slots_len || io->slots[fd].generation != generation || io->slots[fd].desc == NULL)
        return;
    np_desc *desc = io->slots[fd].desc;
    if (io->on_ready != NULL)
        io->on_ready(io, (int)fd);
    if ((events & NP_EV_STICKY) != 0)
        desc->bits |= NP_D_STICKY;
    if ((events & NP_EV_HUP) != 0)
        desc->bits |= NP_D_HUP;
    if ((events & NP_EV_READ) != 0) {
        desc->bits |= NP_D_READ;
        serve_polls(io, &desc->queue[NP_DIR_READ], NEAP_READ);
        serve(io, desc, NP_DIR_READ);
    }
    if ((events & NP_EV_WRITE) != 0) {
        desc->bits |= NP_D_WRITE;
        serve_polls(io, &desc->queue[NP_DIR_WRITE], NEAP_WRITE);
        serve(io, desc, NP_DIR_WRITE);
    }
}

int64_t np_ready_begin(np_io *io, np_op *op) {
    np_desc *desc = op->desc;
    if ((desc->bits & np_dir_bit(op->dir)) == 0)
        return NP_WAIT;
    if (op->kind != NP_OP_POLL && !np_list_empty(&desc->queue[op->dir]))
        return NP_WAIT;
    return try_op(io, desc, op);
}

int np_ready_park(np_io *io, np_op *op, int (*add)(np_io *io, np_op *op)) {
    np_desc *desc = op->desc;
    int rc = np_io_attach(io, desc, false);
    if (rc < 0)
        return rc;
    if ((desc->bits & np_watched_bit(op->dir)) == 0) {
        rc = add(io, op);
        if (rc < 0)
            return rc;
        clear_bits(desc, np_dir_bit(op->dir)); /* what is there now is announced, too */
    }
    op->state = NP_OP_PARKED;
    np_list_append(&desc->queue[op->dir], &op->link);
    io->parked++;
    return 0;
}

bool np_ready_cancel(np_io *io, np_op *op) {
    np_desc *desc = op->desc;
    bool was_armed = op->state == NP_OP_ARMED;
    np_list_unlink(&op->link);
    op->state = NP_OP_IDLE;
    io->parked--;
    if (was_armed) /* it held up the queue */
        serve(io, desc, op->dir);
    return true;
}

int64_t np_ready_perform(np_io *io, np_op *op) {
    np_desc *desc = op->desc;
    int64_t result = try_op(io, desc, op);
    if (result == NP_WAIT) {
        op->state = NP_OP_PARKED;
        return result;
    }
    np_list_unlink(&op->link);
    op->state = NP_OP_IDLE;
    io->parked--;
    serve(io, desc, op->dir);
    return result;
}

static void end_all(np_io *io, np_desc *desc, int32_t code) {
    for (int dir = 0; dir < 2; dir++)
        while (!np_list_empty(&desc->queue[dir]))
            complete(io, np_container(desc->queue[dir].next, np_op, link), code);
}

void np_ready_detach(np_io *io, np_desc *desc, int32_t code,
                     void (*del)(np_io *io, np_desc *desc)) {
    end_all(io, desc, code);
    if ((desc->bits & (NP_D_WATCHED_READ | NP_D_WATCHED_WRITE)) != 0 && !io->abandoned)
        del(io, desc);
    if ((desc->bits & NP_D_ATTACHED) != 0) {
        np_slot *slot = &io->slots[desc->fd];
        slot->desc = NULL;
        slot->generation++;
    }
    clear_bits(desc, NP_D_ATTACHED | NP_D_WATCHED_READ | NP_D_WATCHED_WRITE | NP_D_FED);
}

void np_ready_drain(np_io *io) {
    for (uint32_t fd = 0; fd < io->slots_len; fd++)
        if (io->slots[fd].desc != NULL)
            end_all(io, io->slots[fd].desc, NEAP_ECLOSED);
}
