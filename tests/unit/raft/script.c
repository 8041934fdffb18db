#include "tests/unit/raft/script.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static const char *word(struct script *s, size_t at) { return at < s->count ? s->words[at] : ""; }

static uint64_t number(struct script *s, size_t at) { return strtoull(word(s, at), NULL, 10); }

static struct lab_node *node_at(struct script *s, size_t at)
{
    uint64_t id = number(s, at);
    assert_in_range(id, 1, LAB_NODES);
    return &s->lab.nodes[id];
}

/* ---- disks and messages ---- */

static void sync_disks(struct script *s)
{
    for (bool again = true; again && !s->lab.failed;) {
        again = false;
        for (uint64_t id = 1; id <= LAB_NODES; id++) {
            struct lab_node *node = &s->lab.nodes[id];
            if (node->raft != NULL && !node->stalled && node->op_count > 0) {
                lab_sync(&s->lab, id, node->op_count);
                again = true;
            }
        }
    }
}

/* Words from `at` on: [A->B] [TYPE]. */
static bool packet_matches(struct script *s, size_t at, const struct lab_packet *packet)
{
    const char *arrow = strstr(word(s, at), "->");
    if (arrow != NULL) {
        uint64_t from = strtoull(word(s, at), NULL, 10);
        uint64_t to = strtoull(arrow + 2, NULL, 10);
        if ((from != 0 && from != packet->from) || (to != 0 && to != packet->to)) {
            return false;
        }
        at++;
    }
    return at >= s->count || strcmp(word(s, at), lab_type_name(packet->type)) == 0;
}

static void print_packet(struct script *s, const struct lab_packet *packet)
{
    static struct raft_entry entries[RAFT_MAXIMUM_APPEND_ENTRIES];
    struct raft_message message;
    enum status status = raft_message_decode(slice_of(packet->bytes->data, packet->bytes->size), entries, &message);
    assert_int_equal(status, STATUS_OK);
    lab_describe(&message, &s->out);
    buffer_append_string(&s->out, "\n");
}

static void deliver(struct script *s, bool print)
{
    size_t count = s->lab.packet_count; /* not what these lead to */
    for (size_t at = 0; count > 0 && !s->lab.failed; count--) {
        if (print && !packet_matches(s, 1, &s->lab.packets[at])) {
            at++;
            continue;
        }
        if (print) {
            print_packet(s, &s->lab.packets[at]);
        }
        lab_deliver(&s->lab, at);
        sync_disks(s);
    }
}

static void settle(struct script *s)
{
    sync_disks(s);
    for (int i = 0; i < 1000 && s->lab.packet_count > 0 && !s->lab.failed; i++) {
        deliver(s, false);
    }
    assert_int_equal(s->lab.packet_count, 0);
}

/* ---- printing ---- */

static void print_set(struct script *s, const char *name, const uint64_t *ids, size_t count)
{
    if (count == 0) {
        return;
    }
    buffer_append_string(&s->out, name);
    for (size_t i = 0; i < count; i++) {
        buffer_append_format(&s->out, "%s%d", i > 0 ? " " : "", (int)ids[i]);
    }
}

static void print_configuration(struct script *s, const struct raft_configuration *c)
{
    buffer_append_string(&s->out, "{");
    print_set(s, "", c->voters, c->voter_count);
    print_set(s, " leaving ", c->outgoing, c->outgoing_count);
    print_set(s, " learners ", c->learners, c->learner_count);
    buffer_append_string(&s->out, "}");
}

static void print_log(struct script *s, const struct lab_log *log)
{
    if (log->trimmed > 0) {
        buffer_append_format(&s->out, " ..%d:%d", (int)log->trimmed, (int)log->trimmed_term);
    }
    for (size_t i = 0; i < log->count; i++) {
        const struct lab_entry *entry = &log->entries[i];
        buffer_append_format(&s->out, " %d:%d", (int)entry->index, (int)entry->term);
        if (entry->kind == RAFT_ENTRY_CONFIGURATION) {
            struct raft_configuration c;
            enum status status = raft_configuration_decode(slice_of(entry->payload->data, entry->payload->size), &c);
            assert_int_equal(status, STATUS_OK);
            print_configuration(s, &c);
        } else if (entry->kind >= RAFT_ENTRY_HOST) {
            buffer_append_format(&s->out, "(%.*s)", (int)entry->payload->size, (const char *)entry->payload->data);
        }
    }
}

static void print_state(struct script *s, struct lab_node *node)
{
    static const char *const roles[] = {"follower", "pre-candidate", "candidate", "leader"};
    if (node->raft == NULL) {
        buffer_append_format(&s->out, "%d down, disk: term %d vote %d, log", (int)node->id,
                             (int)node->stable.hard_state.term, (int)node->stable.hard_state.vote);
        print_log(s, &node->stable);
        buffer_append_string(&s->out, "\n");
        return;
    }
    struct raft_status status;
    raft_status(node->raft, &status);
    buffer_append_format(&s->out, "%d %s term %d vote %d leader %d commit %d durable %d ", (int)node->id,
                         roles[status.role], (int)status.term, (int)status.vote, (int)status.leader, (int)status.commit,
                         (int)status.durable);
    print_configuration(s, &status.configuration);
    buffer_append_string(&s->out, status.removed ? " removed, log" : ", log");
    print_log(s, &node->latest);
    buffer_append_string(&s->out, "\n");
}

static void print_peers(struct script *s, struct lab_node *node)
{
    static const char *const states[] = {"probe", "replicate", "snapshot"};
    struct raft_status status;
    raft_status(node->raft, &status);
    for (size_t i = 0; i < status.peers; i++) {
        struct raft_peer_status peer;
        raft_peer_status(node->raft, i, &peer);
        buffer_append_format(&s->out, "%d sees %d: %s, match %d next %d", (int)node->id, (int)peer.id,
                             states[peer.state], (int)peer.match, (int)peer.next);
        if (peer.inflight_messages > 0) {
            buffer_append_format(&s->out, ", in flight %d with %d bytes", (int)peer.inflight_messages,
                                 (int)peer.inflight_bytes);
        }
        buffer_append_string(&s->out, "\n");
    }
}

static void print_status(struct script *s, enum status status)
{
    if (status != STATUS_OK) {
        buffer_append_format(&s->out, "refused: %s\n", status_text(status));
    }
}

/* ---- commands ---- */

static size_t take_ids(struct script *s, size_t *at, uint64_t *ids)
{
    size_t count = 0;
    while (*at < s->count && number(s, *at) != 0) {
        ids[count++] = number(s, (*at)++);
    }
    return count;
}

/* Words from `at` on: ids [learners ids]. */
static void read_configuration(struct script *s, size_t at, struct raft_configuration *ret_configuration)
{
    uint64_t voters[SCRIPT_WORDS], learners[SCRIPT_WORDS];
    size_t learner_count = 0;
    size_t voter_count = take_ids(s, &at, voters);
    if (strcmp(word(s, at), "learners") == 0) {
        at++;
        learner_count = take_ids(s, &at, learners);
    }
    enum status status = raft_configuration_make(voters, voter_count, learners, learner_count, ret_configuration);
    assert_int_equal(status, STATUS_OK);
}

static void do_group(struct script *s)
{
    struct raft_configuration first;
    read_configuration(s, 1, &first);
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (raft_configuration_has(&first, id)) {
            s->options.id = id;
            s->options.seed = id;
            lab_add(&s->lab, &s->options, &first);
        }
    }
}

static void do_set(struct script *s)
{
    const char *name = word(s, 1);
    uint32_t value = (uint32_t)number(s, 2);
    if (strcmp(name, "lease-reads") == 0) {
        s->options.lease_reads = value != 0;
    } else if (strcmp(name, "append-bytes") == 0) {
        s->options.append_bytes = value;
    } else if (strcmp(name, "inflight-messages") == 0) {
        s->options.inflight_messages = value;
    } else if (strcmp(name, "inflight-bytes") == 0) {
        s->options.inflight_bytes = value;
    } else if (strcmp(name, "chunk-bytes") == 0) {
        s->options.snapshot_chunk_bytes = value;
    } else if (strcmp(name, "uncommitted") == 0) {
        s->options.uncommitted_entries = value;
    } else {
        fail_msg("no option %s", name);
    }
}

/* Is this member among the words from `at` on? All are when there is none. */
static bool is_named(struct script *s, size_t at, uint64_t id)
{
    bool named = s->count <= at;
    for (size_t i = at; i < s->count; i++) {
        named = named || number(s, i) == id;
    }
    return named && s->lab.nodes[id].exists;
}

static void do_tick(struct script *s)
{
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (is_named(s, 2, id)) {
            lab_tick(&s->lab, id, (double)number(s, 1));
        }
    }
}

/* Time in which the host has no turn. Then the first one, or, in the middle of a long one, beats. */
static void do_late(struct script *s)
{
    bool beats = strcmp(word(s, 0), "beat") == 0;
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (!is_named(s, 2, id)) {
            continue;
        }
        s->lab.nodes[id].paused = true;
        lab_tick(&s->lab, id, (double)number(s, 1));
        s->lab.nodes[id].paused = false;
        if (beats) {
            lab_beat(&s->lab, id);
        } else {
            lab_tick(&s->lab, id, 0);
        }
    }
}

static void quiet(struct script *s, uint64_t id)
{
    if (s->lab.nodes[id].raft != NULL) {
        lab_tick(&s->lab, id, 0);
        lab_tick(&s->lab, id, s->options.election_timeout_ms);
    }
}

static void do_quiet(struct script *s)
{
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (is_named(s, 1, id)) {
            quiet(s, id);
        }
    }
}

static void do_timeout(struct script *s)
{
    struct lab_node *node = node_at(s, 1);
    enum raft_role before = node->seen_role;
    lab_tick(&s->lab, node->id, 0);
    if (node->seen_role != before) {
        return; /* it was time already */
    }
    uint64_t most_ms = s->options.election_timeout_ms / LAB_LISTENS, wait_ms;
    do { /* a wait as long as that is not the last one */
        uint64_t deadline_ms = raft_deadline(node->raft);
        assert_true(deadline_ms != UINT64_MAX);
        wait_ms = deadline_ms > lab_now(node) ? deadline_ms - lab_now(node) : 0;
        lab_tick(&s->lab, node->id, (double)wait_ms);
    } while (wait_ms == most_ms && node->seen_role == before);
}

static void do_elect(struct script *s)
{
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (id != number(s, 1) && s->lab.nodes[id].seen_role == RAFT_FOLLOWER) {
            quiet(s, id);
        }
    }
    do_timeout(s);
    settle(s);
}

static void do_links(struct script *s, bool cut)
{
    if (!cut) {
        memset(s->lab.cut, 0, sizeof s->lab.cut);
        return;
    }
    if (strcmp(word(s, 0), "split") == 0) {
        for (uint64_t a = 1; a <= LAB_NODES; a++) {
            for (uint64_t b = 1; b <= LAB_NODES; b++) {
                s->lab.cut[a][b] = is_named(s, 1, a) != is_named(s, 1, b);
            }
        }
        return;
    }
    const char *arrow = strstr(word(s, 1), "->");
    uint64_t from = number(s, 1);
    uint64_t only = arrow != NULL ? strtoull(arrow + 2, NULL, 10) : 0;
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (arrow == NULL) {
            s->lab.cut[from][id] = s->lab.cut[id][from] = true;
        } else if (only == 0 || id == only) {
            s->lab.cut[from][id] = true;
        }
    }
}

static void do_flight(struct script *s)
{
    const char *verb = word(s, 0);
    size_t count = s->lab.packet_count;
    for (size_t at = 0; count > 0; count--) {
        if (!packet_matches(s, 1, &s->lab.packets[at])) {
            at++;
        } else if (strcmp(verb, "drop") == 0) {
            lab_drop(&s->lab, at);
        } else if (strcmp(verb, "repeat") == 0) {
            lab_duplicate(&s->lab, at++);
        } else {
            print_packet(s, &s->lab.packets[at++]);
        }
    }
}

static bool do_input(struct script *s)
{
    const char *verb = word(s, 0);
    struct lab_node *node = node_at(s, 1);
    uint64_t index;
    if (strcmp(verb, "propose") == 0) {
        print_status(s, lab_propose(&s->lab, node->id, word(s, 2)));
    } else if (strcmp(verb, "read") == 0) {
        print_status(s, lab_read(&s->lab, node->id));
    } else if (strcmp(verb, "lease") == 0) {
        enum status status = lab_lease_read(&s->lab, node->id, &index);
        if (status == STATUS_OK) {
            buffer_append_format(&s->out, "%d: lease read sees %d\n", (int)node->id, (int)index);
        }
        print_status(s, status);
    } else if (strcmp(verb, "transfer") == 0) {
        print_status(s, raft_transfer(node->raft, number(s, 2)));
        lab_turn(&s->lab, node->id);
    } else if (strcmp(verb, "change") == 0) {
        struct raft_configuration target;
        read_configuration(s, 3, &target);
        print_status(s, raft_change(node->raft, &target));
        lab_turn(&s->lab, node->id);
    } else if (strcmp(verb, "snapshot") == 0) {
        lab_snapshot(&s->lab, node->id, number(s, 2));
    } else if (strcmp(verb, "install") == 0) {
        lab_install(&s->lab, node->id, s->count == 2);
        lab_turn(&s->lab, node->id);
    } else if (strcmp(verb, "lost") == 0) {
        raft_peer_lost(node->raft, number(s, 2));
        lab_turn(&s->lab, node->id);
    } else if (strcmp(verb, "gone") == 0) {
        node->led_ms = 0;
        raft_peer_gone(node->raft, number(s, 2));
        lab_turn(&s->lab, node->id);
    } else {
        return false;
    }
    return true;
}

static bool do_disk(struct script *s)
{
    const char *verb = word(s, 0);
    struct lab_node *node = node_at(s, 1);
    if (strcmp(verb, "stall") == 0) {
        node->stalled = true;
    } else if (strcmp(verb, "unstall") == 0) {
        node->stalled = false;
    } else if (strcmp(verb, "sync") == 0) {
        lab_sync(&s->lab, node->id, s->count > 2 ? number(s, 2) : node->op_count);
    } else if (strcmp(verb, "crash") == 0) {
        lab_crash(&s->lab, node->id, number(s, 2));
    } else if (strcmp(verb, "restart") == 0) {
        lab_restart(&s->lab, node->id);
    } else if (strcmp(verb, "join") == 0) {
        s->options.id = s->options.seed = node_at(s, 1) - s->lab.nodes;
        lab_add(&s->lab, &s->options, NULL);
    } else {
        return false;
    }
    return true;
}

static void do_state(struct script *s)
{
    for (uint64_t id = 1; id <= LAB_NODES; id++) {
        if (is_named(s, 1, id)) {
            print_state(s, &s->lab.nodes[id]);
        }
    }
}

static void run_command(struct script *s)
{
    const char *verb = word(s, 0);
    if (strcmp(verb, "set") == 0) {
        do_set(s);
    } else if (strcmp(verb, "group") == 0) {
        do_group(s);
    } else if (strcmp(verb, "tick") == 0) {
        do_tick(s);
    } else if (strcmp(verb, "late") == 0 || strcmp(verb, "beat") == 0) {
        do_late(s);
    } else if (strcmp(verb, "timeout") == 0) {
        do_timeout(s);
    } else if (strcmp(verb, "quiet") == 0) {
        do_quiet(s);
    } else if (strcmp(verb, "elect") == 0) {
        do_elect(s);
    } else if (strcmp(verb, "settle") == 0) {
        settle(s);
    } else if (strcmp(verb, "deliver") == 0) {
        deliver(s, true);
    } else if (strcmp(verb, "drop") == 0 || strcmp(verb, "repeat") == 0 || strcmp(verb, "flight") == 0) {
        do_flight(s);
    } else if (strcmp(verb, "cut") == 0 || strcmp(verb, "isolate") == 0 || strcmp(verb, "split") == 0) {
        do_links(s, true);
    } else if (strcmp(verb, "heal") == 0) {
        do_links(s, false);
    } else if (strcmp(verb, "lazy-install") == 0) {
        s->lab.lazy_install = true;
    } else if (strcmp(verb, "state") == 0) {
        do_state(s);
    } else if (strcmp(verb, "peers") == 0) {
        print_peers(s, node_at(s, 1));
    } else if (!do_input(s) && !do_disk(s)) {
        fail_msg("no command %s", verb);
    }
    sync_disks(s);
    if (s->lab.failed) {
        buffer_append_format(&s->out, "BROKEN: %s\n", s->lab.failure);
    }
}

/* Appends what the command printed, each line behind "| ". */
static void append_output(struct buffer *text, const struct buffer *out)
{
    size_t start = 0;
    for (size_t i = 0; i < out->size; i++) {
        if (out->data[i] == '\n') {
            buffer_append_string(text, "| ");
            buffer_append(text, out->data + start, i + 1 - start);
            start = i + 1;
        }
    }
    assert_int_equal(start, out->size);
}

void script_run_line(struct script *s, char *line, struct buffer *text)
{
    buffer_append_string(text, line);
    buffer_append_string(text, "\n");
    if (line[0] == '#' || line[0] == '\0') {
        return;
    }
    s->count = 0;
    for (char *at = strtok(line, " "); at != NULL; at = strtok(NULL, " ")) {
        assert_in_range(s->count, 0, SCRIPT_WORDS - 1);
        s->words[s->count++] = at;
    }
    buffer_clear(&s->out);
    run_command(s);
    append_output(text, &s->out);
}

void script_init(struct script *script)
{
    memset(script, 0, sizeof *script);
    lab_init(&script->lab);
    script->options = lab_options(1, 0);
    buffer_init(&script->out);
    script->lab.trace = &script->out;
}

void script_deinit(struct script *script)
{
    lab_deinit(&script->lab);
    buffer_deinit(&script->out);
}
