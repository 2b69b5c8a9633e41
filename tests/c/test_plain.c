/* Descriptors whose flags are not ours, white-box: their calls do not block, also if another process is quicker.  One that
   did would wait for ever here. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io/op.h"
#include "support.h"

enum {
    ROUNDS = 20000,
    PAGE = 4096, /* each write fills one piece of a pipe */
    SPINS = 100000000
};

typedef struct contest {
    int pipe[2]; /* both ends block */
    int took[2]; /* a byte from the rival for each turn that it has won */
    pid_t rival;
    np_desc desc;
    np_op op;
    char page[PAGE];
} contest;

/* Older kernels take the word for no pipe, and then a call may block. */
static void need_nowait(int fd) {
    char byte;
    const struct iovec part = {&byte, 1};
    if (preadv2(fd, &part, 1, -1, RWF_NOWAIT) < 0 && errno == EAGAIN)
        return;
    print_message("this kernel does not read pipes with RWF_NOWAIT\n");
    skip();
}

static void begin(contest *c, int end, uint8_t kind, uint8_t dir, size_t len) {
    *c = (contest){.op = {.desc = &c->desc, .kind = kind, .dir = dir, .buf = c->page, .len = len}};
    assert_int_equal(pipe2(c->pipe, O_CLOEXEC), 0);
    assert_int_equal(pipe2(c->took, O_CLOEXEC | O_NONBLOCK), 0);
    np_desc_init(&c->desc, c->pipe[end], NP_D_PLAIN | NP_D_SHARED | NP_D_BLOCKING);
    need_nowait(c->pipe[0]);
}

/* Another process that makes the same call again and again, without a pause. */
static void let_rival_in(contest *c, ssize_t (*call)(contest *c)) {
    c->rival = fork();
    assert_true(c->rival >= 0);
    if (c->rival == 0)
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    while (c->rival == 0)
        if (call(c) > 0 && write(c->took[1], "x", 1) != 1)
            _exit(0);
}

static void end(contest *c) {
    assert_int_equal(kill(c->rival, SIGKILL), 0);
    assert_int_equal(waitpid(c->rival, NULL, 0), c->rival);
    for (int i = 0; i < 2; i++) {
        close(c->pipe[i]);
        close(c->took[i]);
    }
}

/* One of the two gets it. */
static void contend(contest *c, int64_t want) {
    char byte;
    for (int i = 0; i < SPINS; i++) {
        c->op.moved = 0;
        int64_t n = np_op_attempt(&c->op);
        if (n == want || read(c->took[0], &byte, 1) == 1)
            return;
        assert_true(n == NP_WAIT);
    }
    fail_msg("nobody got it");
}

static ssize_t read_byte(contest *c) {
    const struct iovec part = {c->page, 1};
    return preadv2(c->pipe[0], &part, 1, -1, RWF_NOWAIT);
}

static void a_read_does_not_block_when_another_process_was_quicker(void **state) {
    (void)state;
    contest c;
    begin(&c, 0, NP_OP_RECV, NP_DIR_READ, 1);
    let_rival_in(&c, read_byte);
    for (int i = 0; i < ROUNDS; i++) {
        assert_int_equal(write(c.pipe[1], "x", 1), 1);
        contend(&c, 1);
    }
    end(&c);
}

static ssize_t write_page(contest *c) {
    const struct iovec part = {c->page, PAGE};
    return pwritev2(c->pipe[1], &part, 1, -1, RWF_NOWAIT);
}

static void a_write_does_not_block_when_another_process_was_quicker(void **state) {
    (void)state;
    contest c;
    begin(&c, 1, NP_OP_SENDALL, NP_DIR_WRITE, PAGE);
    for (int left = fcntl(c.pipe[1], F_GETPIPE_SZ); left > 0; left -= PAGE)
        assert_int_equal(write_page(&c), PAGE);
    let_rival_in(&c, write_page);
    for (int i = 0; i < ROUNDS; i++) {
        char room[PAGE];
        assert_int_equal(read(c.pipe[0], room, PAGE), PAGE);
        contend(&c, PAGE);
    }
    end(&c);
}

NT_MAIN(NT_TEST_BARE(a_read_does_not_block_when_another_process_was_quicker),
        NT_TEST_BARE(a_write_does_not_block_when_another_process_was_quicker))
