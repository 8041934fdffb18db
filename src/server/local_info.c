/* INFO and the Prometheus text: the same figures, two ways. */
#include "server/local.h"

#include "base/memory.h"
#include "base/printable.h"
#include "cluster/transport.h"

#include <inttypes.h>
#include <malloc.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { SECOND_NS = 1000000000 };

static void section_server(struct server *server, const struct server_part *part, struct buffer *out)
{
    int64_t up_s = (env_monotonic_ns(server->env) - server->began_ns) / SECOND_NS;
    buffer_append_format(out,
                         "redis_version:%s\r\ncohort_version:%s\r\nredis_mode:cluster\r\narch_bits:64\r\n"
                         "process_id:%d\r\nrun_id:%s\r\nnode_id:%" PRIu64 "\r\nincarnation:%s\r\ntcp_port:%d\r\n"
                         "uptime_in_seconds:%" PRId64 "\r\nuptime_in_days:%" PRId64 "\r\nhz:%d\r\nconfig_file:%s\r\n"
                         "data_directory:%s\r\n",
                         SERVER_REDIS_VERSION, server->options.version, (int)getpid(), server->run_id,
                         server->options.node_id, server->incarnation, server_port(server), up_s, up_s / 86400,
                         1000 / SERVER_CRON_MS, server->config.path, server->directory);
}

static void section_clients(struct server *server, const struct server_part *part, struct buffer *out)
{
    buffer_append_format(out,
                         "connected_clients:%zu\r\nmaxclients:%" PRId64 "\r\nblocked_clients:%zu\r\n"
                         "monitors:%zu\r\nclient_buffer_bytes:%zu\r\n",
                         part->connections, server->config.maxclients, part->blocked, part->monitors,
                         part->client_bytes);
}

static uint64_t resident_bytes(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_SELF, &usage) == 0 ? (uint64_t)usage.ru_maxrss * 1024 : 0;
}

static void section_memory(struct server *server, const struct server_part *part, struct buffer *out)
{
    const struct shard_stats stats = part->stats;
    buffer_append_format(out,
                         "used_memory:%" PRIu64 "\r\nused_memory_dataset:%" PRIu64 "\r\nused_memory_peak_rss:%" PRIu64
                         "\r\nmaxmemory:%" PRId64 "\r\nmaxmemory_policy:noeviction\r\npending_bytes:%" PRIu64 "\r\n",
                         stats.machine.memory_bytes + stats.pending_bytes + part->client_bytes,
                         stats.machine.memory_bytes, resident_bytes(), server->config.maxmemory_bytes,
                         stats.pending_bytes);
}

static void section_persistence(struct server *server, const struct server_part *part, struct buffer *out)
{
    const struct shard_stats stats = part->stats;
    buffer_append_format(
        out,
        "loading:0\r\naof_enabled:1\r\nlog_last_index:%" PRIu64 "\r\nlog_applied_index:%" PRIu64
        "\r\nlog_segments:%" PRIu64 "\r\nlog_bytes_on_disk:%" PRIu64 "\r\nlog_live_bytes:%" PRIu64
        "\r\nlog_syncs:%" PRIu64 "\r\nlog_bytes_written:%" PRIu64 "\r\nlog_last_sync_usec:%" PRId64
        "\r\nlog_longest_sync_usec:%" PRId64 "\r\nsnapshot_in_progress:%d\r\nsnapshots:%" PRIu64
        "\r\nsnapshots_installed:%" PRIu64 "\r\nsnapshot_last_index:%" PRIu64 "\r\nsnapshot_last_bytes:%" PRIu64
        "\r\nsnapshot_last_time:%" PRId64 "\r\nsnapshot_last_duration_ms:%" PRId64
        "\r\nsnapshot_last_status:%s\r\nload_entries:%" PRIu64 "\r\nload_duration_ms:%" PRId64 "\r\n",
        stats.last_index, stats.applied_index, stats.log.segments, stats.log.bytes_on_disk, stats.log.live_bytes,
        stats.log.syncs, stats.log.bytes_written, stats.log.last_sync_ns / 1000, stats.log.maximum_sync_ns / 1000,
        stats.snapshot_running ? 1 : 0, stats.snapshots, stats.installed, stats.snapshot_index, stats.snapshot_bytes,
        stats.snapshot_wall_ms / 1000, stats.snapshot_duration_ms, status_text(stats.snapshot_status),
        stats.replayed_entries, stats.open_ms);
}

static void section_stats(struct server *server, const struct server_part *part, struct buffer *out)
{
    const struct shard_stats stats = part->stats;
    const struct server_figures *figures = &part->figures;
    buffer_append_format(
        out,
        "total_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
        "\r\ninstantaneous_ops_per_sec:%" PRIu64 "\r\ntotal_net_input_bytes:%" PRIu64
        "\r\ntotal_net_output_bytes:%" PRIu64 "\r\nrejected_connections:%" PRIu64 "\r\nexpired_keys:%" PRIu64
        "\r\nkeyspace_hits:%" PRIu64 "\r\nkeyspace_misses:%" PRIu64 "\r\ntotal_error_replies:%" PRIu64
        "\r\nuncertain_replies:%" PRIu64 "\r\nreads_strong:%" PRIu64 "\r\nreads_session:%" PRIu64
        "\r\nreads_bounded:%" PRIu64 "\r\nreads_eventual:%" PRIu64 "\r\nreads_waited:%" PRIu64
        "\r\nreads_stale:%" PRIu64 "\r\nclients_cut_output:%" PRIu64 "\r\nclients_cut_idle:%" PRIu64
        "\r\nclients_cut_memory:%" PRIu64 "\r\nlog_entries:%" PRIu64 "\r\nlog_commands:%" PRIu64
        "\r\nfeeds:%zu\r\nfeeds_behind:%zu\r\nfeed_lag_ms:%" PRId64 "\r\nfeeds_ended:%" PRIu64
        "\r\nfeed_pushes:%" PRIu64 "\r\nfeed_changes:%" PRIu64 "\r\nfeed_history_bytes:%" PRIu64
        "\r\nservice_watches:%zu\r\nservice_pushes:%" PRIu64
        "\r\npubsub_channels:%zu\r\npubsub_patterns:%zu\r\npubsubshard_channels:%zu\r\nmessages_published:%" PRIu64
        "\r\nmessages_delivered:%" PRIu64 "\r\nmessages_sent:%" PRIu64 "\r\nmessages_received:%" PRIu64
        "\r\nmessages_dropped:%" PRIu64 "\r\ntransactions_of_lost_nodes:%" PRIu64 "\r\n",
        figures->connections_received, figures->commands, figures->commands_per_second, figures->bytes_read,
        figures->bytes_written, figures->connections_rejected, stats.machine.expired, stats.machine.hits,
        stats.machine.misses, figures->errors, figures->uncertain, figures->reads[CONSISTENCY_STRONG],
        figures->reads[CONSISTENCY_SESSION], figures->reads[CONSISTENCY_BOUNDED], figures->reads[CONSISTENCY_EVENTUAL],
        figures->reads_waited, figures->reads_stale, figures->clients_cut_output, figures->clients_cut_idle,
        figures->clients_cut_memory, stats.entries, stats.commands, part->feeds, part->feeds_behind, part->feed_lag_ms,
        figures->feeds_ended, figures->feed_pushes, figures->feed_changes, stats.machine.history_bytes,
        part->service_watches, figures->service_pushes, channels_count(&server->channels, CHANNEL_NAMED),
        channels_count(&server->channels, CHANNEL_PATTERN), channels_count(&server->channels, CHANNEL_SHARD),
        figures->messages_published, figures->messages_delivered, part->messages.sent, part->messages.received,
        part->messages.dropped, part->txns_of_lost);
}

/* Every node takes writes, so to clients each is a master; the others that it reaches are its replicas. */
static void section_replication(struct server *server, const struct server_part *part, struct buffer *out)
{
    struct cluster_view view;
    uint32_t others_up = 0;
    if (cluster_look(server->cluster, &view)) {
        for (uint32_t i = 0; i < view.members->count; i++) {
            others_up += view.up[i] && view.members->nodes[i].id != view.self;
        }
    }
    buffer_append_format(out,
                         "role:master\r\nconnected_slaves:%" PRIu32 "\r\nshards:%" PRIu32 "\r\nshards_voting:%" PRIu32
                         "\r\nshards_leading:%" PRIu32 "\r\nshards_without_leader:%" PRIu32 "\r\n",
                         others_up, server->shards, part->voting, part->leading, part->leaderless);
}

static void section_cpu(struct server *server, const struct server_part *part, struct buffer *out)
{
    (void)server;
    struct rusage usage;
    if (getrusage(RUSAGE_SELF, &usage) == 0) {
        buffer_append_format(out, "used_cpu_sys:%lld.%06lld\r\nused_cpu_user:%lld.%06lld\r\n",
                             (long long)usage.ru_stime.tv_sec, (long long)usage.ru_stime.tv_usec,
                             (long long)usage.ru_utime.tv_sec, (long long)usage.ru_utime.tv_usec);
    }
}

static void section_commandstats(struct server *server, const struct server_part *part, struct buffer *out)
{
    for (uint16_t id = 1; id < COMMAND_MAXIMUM; id++) {
        const struct command_figures *figures = &part->figures.by_command[id];
        if (figures->calls == 0 && figures->rejected == 0) {
            continue;
        }
        double usec = (double)figures->duration_ns / 1000;
        buffer_append_format(out,
                             "cmdstat_%s:calls=%" PRIu64 ",usec=%.0f,usec_per_call=%.2f,rejected_calls=%" PRIu64
                             ",failed_calls=%" PRIu64 "\r\n",
                             command_by_id(id)->name, figures->calls, usec,
                             figures->calls == 0 ? 0.0 : usec / (double)figures->calls, figures->rejected,
                             figures->failed);
    }
}

static void section_errorstats(struct server *server, const struct server_part *part, struct buffer *out)
{
    for (size_t i = 0; i < part->figures.error_kind_count; i++) {
        const struct error_figures *kind = &part->figures.error_kinds[i];
        buffer_append_format(out, "errorstat_%s:count=%" PRIu64 "\r\n", kind->code, kind->count);
    }
}

static void section_cluster(struct server *server, const struct server_part *part, struct buffer *out)
{
    (void)server;
    buffer_append_string(out, "cluster_enabled:1\r\n");
}

static void section_keyspace(struct server *server, const struct server_part *part, struct buffer *out)
{
    const struct shard_stats stats = part->stats;
    if (stats.machine.keys != 0) {
        buffer_append_format(out, "db0:keys=%" PRIu64 ",expires=%" PRIu64 ",avg_ttl=0\r\n", stats.machine.keys,
                             stats.machine.keys_with_expiry);
    }
}

static int hotter(const void *a, const void *b)
{
    const struct lock_heat *x = a;
    const struct lock_heat *y = b;
    return (x->count < y->count) - (x->count > y->count);
}

/* Of this node's replicas; the hottest are those that others waited for most, in shards led here. */
static void section_locks(struct server *server, const struct server_part *part, struct buffer *out)
{
    const struct machine_stats *stats = &part->stats.machine;
    struct lock_heat hot[LOCKS_HOT];
    (void)server;
    buffer_append_format(
        out,
        "locks:%" PRIu64 "\r\nlock_holders:%" PRIu64 "\r\nlock_waiters:%" PRIu64 "\r\nlocks_granted:%" PRIu64
        "\r\nlocks_expired:%" PRIu64 "\r\nlocks_queued:%" PRIu64 "\r\nlock_deadlocks:%" PRIu64
        "\r\nbarriers_and_latches:%" PRIu64 "\r\nmeeting_waiters:%" PRIu64 "\r\nmeetings_passed:%" PRIu64 "\r\n",
        stats->locks, stats->lock_holders, stats->lock_waiters, stats->locks_granted, stats->locks_expired,
        stats->locks_queued, part->figures.lock_deadlocks, stats->meets, stats->meet_waiters, stats->meets_passed);
    memcpy(hot, part->hot, sizeof(hot));
    qsort(hot, LOCKS_HOT, sizeof(hot[0]), hotter);
    for (size_t i = 0; i < LOCKS_HOT && hot[i].count != 0; i++) {
        char name[LOCK_HEAT_KEY_BYTES * 4 + 1];
        (void)printable_copy(slice_of(hot[i].key, hot[i].key_size), name, sizeof(name));
        buffer_append_format(out, "hot_lock_%zu:contended=%" PRIu64 ",name=%s\r\n", i, hot[i].count, name);
    }
}

/* Of this node's replicas; what happened, since the process started. */
static void section_services(struct server *server, const struct server_part *part, struct buffer *out)
{
    const struct machine_stats *stats = &part->stats.machine;
    (void)server;
    buffer_append_format(out,
                         "services:%" PRIu64 "\r\nendpoints:%" PRIu64 "\r\nendpoints_registered:%" PRIu64
                         "\r\nendpoints_expired:%" PRIu64 "\r\nservice_changes:%" PRIu64 "\r\n",
                         stats->services, stats->endpoints, stats->endpoints_registered, stats->endpoints_expired,
                         stats->service_changes);
}

/* Of this node's replicas, those that do not lead too; what happened, since the process started. */
static void section_sessions(struct server *server, const struct server_part *part, struct buffer *out)
{
    const struct machine_stats *stats = &part->stats.machine;
    (void)server;
    buffer_append_format(out,
                         "sessions:%" PRIu64 "\r\nsessions_ending:%" PRIu64 "\r\nsession_ties:%" PRIu64
                         "\r\nsession_locks:%" PRIu64 "\r\nsession_keys:%" PRIu64 "\r\nsessions_opened:%" PRIu64
                         "\r\nsessions_closed:%" PRIu64 "\r\nsessions_expired:%" PRIu64
                         "\r\nsession_heartbeats:%" PRIu64 "\r\nsession_heartbeat_commands:%" PRIu64 "\r\n",
                         stats->sessions, stats->sessions_ended, stats->session_ties, stats->session_locks,
                         stats->session_keys, stats->sessions_opened, stats->sessions_closed, stats->sessions_expired,
                         stats->session_beats, stats->session_beat_commands);
}

static const struct {
    const char *name, *title;
    void (*write)(struct server *server, const struct server_part *part, struct buffer *out);
    bool standard; /* also without being asked for */
} sections[] = {
    {"server", "Server", section_server, true},
    {"clients", "Clients", section_clients, true},
    {"memory", "Memory", section_memory, true},
    {"persistence", "Persistence", section_persistence, true},
    {"stats", "Stats", section_stats, true},
    {"replication", "Replication", section_replication, true},
    {"cpu", "CPU", section_cpu, true},
    {"commandstats", "Commandstats", section_commandstats, false},
    {"errorstats", "Errorstats", section_errorstats, true},
    {"cluster", "Cluster", section_cluster, true},
    {"locks", "Locks", section_locks, true},
    {"services", "Services", section_services, true},
    {"sessions", "Sessions", section_sessions, true},
    {"keyspace", "Keyspace", section_keyspace, true},
};

static bool section_wanted(const struct local_call *call, size_t section)
{
    if (call->argc == 1) {
        return sections[section].standard;
    }
    for (uint32_t i = 1; i < call->argc; i++) {
        if (local_word(call, i, sections[section].name) || local_word(call, i, "all") ||
            local_word(call, i, "everything") || (local_word(call, i, "default") && sections[section].standard)) {
            return true;
        }
    }
    return false;
}

void local_info(struct local_call *call)
{
    struct buffer text;
    buffer_init(&text);
    struct server_part *part = memory_allocate_zeroed(1, sizeof(*part));
    server_part_sum(call->server, call->round, part);
    for (size_t i = 0; i < sizeof(sections) / sizeof(sections[0]); i++) {
        if (section_wanted(call, i)) {
            buffer_append_format(&text, "%s# %s\r\n", text.size == 0 ? "" : "\r\n", sections[i].title);
            sections[i].write(call->server, part, &text);
        }
    }
    free(part);
    resp_verbatim(call->reply, "txt", buffer_slice(&text));
    buffer_deinit(&text);
}

/* ---- Prometheus text format 0.0.4 ---- */

static void metric(struct buffer *out, const char *name, const char *kind, const char *help, double value)
{
    buffer_append_format(out, "# HELP cohort_%s %s\n# TYPE cohort_%s %s\ncohort_%s %.17g\n", name, help, name, kind,
                         name, value);
}

/* What goes on at the port between nodes. */
static void read_metrics(const struct server_figures *figures, struct buffer *out)
{
    static const char *const names[CONSISTENCY_LEVELS] = {"strong", "session", "bounded", "eventual"};
    buffer_append_string(out, "# HELP cohort_reads_total Reads in one shard, by level of consistency.\n"
                              "# TYPE cohort_reads_total counter\n");
    for (size_t level = 0; level < CONSISTENCY_LEVELS; level++) {
        buffer_append_format(out, "cohort_reads_total{level=\"%s\"} %" PRIu64 "\n", names[level],
                             figures->reads[level]);
    }
    metric(out, "reads_waited_total", "counter", "Reads that had to wait for a replica that is new enough.",
           (double)figures->reads_waited);
    metric(out, "reads_stale_total", "counter", "Reads answered -STALE.", (double)figures->reads_stale);
}

static void peer_metrics(struct server *server, struct buffer *out)
{
    struct transport_statistics stats;
    cluster_transport_statistics(server->cluster, &stats);
    metric(out, "peers_connected", "gauge", "Other nodes that are connected.", (double)stats.connected);
    metric(out, "peer_received_bytes_total", "counter", "Received from other nodes.", (double)stats.bytes_received);
    metric(out, "peer_sent_bytes_total", "counter", "Sent to other nodes.", (double)stats.bytes_sent);
    buffer_append_string(out, "# HELP cohort_peer_refusals_total Connections that this node refused at that port.\n"
                              "# TYPE cohort_peer_refusals_total counter\n");
    for (int reason = TRANSPORT_ACCEPTABLE + 1; reason < TRANSPORT_REASONS; reason++) {
        buffer_append_format(out, "cohort_peer_refusals_total{reason=\"%s\"} %" PRIu64 "\n",
                             transport_reason_name((enum transport_reason)reason), stats.refused[reason]);
    }
}

void server_metrics(struct server *server, struct buffer *out)
{
    struct server_part *part = memory_allocate_zeroed(1, sizeof(*part));
    server_part_look(server, part);
    for (uint32_t i = 1; i < server->worker_count && server->parts != NULL; i++) {
        server_part_add(part, &server->parts[i]);
    }
    const struct shard_stats stats = part->stats;
    const struct server_figures *figures = &part->figures;
    buffer_append_format(out,
                         "# HELP cohort_info About this node.\n# TYPE cohort_info gauge\n"
                         "cohort_info{version=\"%s\",node=\"%" PRIu64 "\"} 1\n",
                         server->options.version, server->options.node_id);
    metric(out, "uptime_seconds", "gauge", "Since the process began to serve.",
           (double)(env_monotonic_ns(server->env) - server->began_ns) / SECOND_NS);
    metric(out, "clients", "gauge", "Connected clients.", (double)part->connections);
    metric(out, "client_buffer_bytes", "gauge", "Held in buffers of clients.", (double)part->client_bytes);
    metric(out, "connections_total", "counter", "Connections accepted.", (double)figures->connections_received);
    metric(out, "connections_rejected_total", "counter", "Connections refused at a limit.",
           (double)figures->connections_rejected);
    metric(out, "commands_total", "counter", "Commands executed.", (double)figures->commands);
    metric(out, "errors_total", "counter", "Error replies.", (double)figures->errors);
    metric(out, "uncertain_total", "counter", "Commands answered -UNCERTAIN.", (double)figures->uncertain);
    read_metrics(figures, out);
    metric(out, "feeds", "gauge", "Feeds that clients of this node follow.", (double)part->feeds);
    metric(out, "feeds_behind", "gauge", "Feeds that catch up, or whose clients are slow.", (double)part->feeds_behind);
    metric(out, "feed_lag_seconds", "gauge", "For how long changes may have been missing in this node's feeds.",
           (double)part->feed_lag_ms / 1000);
    metric(out, "feeds_ended_total", "counter", "Feeds that ended since what they wanted was forgotten.",
           (double)figures->feeds_ended);
    metric(out, "feed_changes_total", "counter", "Changes pushed to feeds.", (double)figures->feed_changes);
    metric(out, "network_read_bytes_total", "counter", "Read from clients.", (double)figures->bytes_read);
    metric(out, "network_written_bytes_total", "counter", "Written to clients.", (double)figures->bytes_written);
    metric(out, "messages_published_total", "counter", "Messages that clients published.",
           (double)figures->messages_published);
    metric(out, "messages_delivered_total", "counter", "Messages written to subscribers.",
           (double)figures->messages_delivered);
    metric(out, "messages_dropped_total", "counter", "Messages that a slow node or worker did not take.",
           (double)part->messages.dropped);
    peer_metrics(server, out);
    metric(out, "keys", "gauge", "Keys.", (double)stats.machine.keys);
    metric(out, "keys_with_expiry", "gauge", "Keys with a time to live.", (double)stats.machine.keys_with_expiry);
    metric(out, "data_bytes", "gauge", "Keys, values and their structures.", (double)stats.machine.memory_bytes);
    metric(out, "feed_history_bytes", "gauge", "Changes that are kept for feeds.", (double)stats.machine.history_bytes);
    metric(out, "expired_keys_total", "counter", "Keys removed when due.", (double)stats.machine.expired);
    metric(out, "locks", "gauge", "Locks held or waited for.", (double)stats.machine.locks);
    metric(out, "lock_holders", "gauge", "Owners that hold a lock.", (double)stats.machine.lock_holders);
    metric(out, "lock_waiters", "gauge", "Owners that wait for a lock.", (double)stats.machine.lock_waiters);
    metric(out, "locks_granted_total", "counter", "Locks granted.", (double)stats.machine.locks_granted);
    metric(out, "locks_expired_total", "counter", "Leases that ended before release.",
           (double)stats.machine.locks_expired);
    metric(out, "locks_queued_total", "counter", "Requests that had to wait.", (double)stats.machine.locks_queued);
    metric(out, "sessions", "gauge", "Sessions that live.", (double)stats.machine.sessions);
    metric(out, "sessions_ending", "gauge", "Sessions whose end some shard has not heard of.",
           (double)stats.machine.sessions_ended);
    metric(out, "sessions_expired_total", "counter", "Sessions that ended for lack of heartbeats.",
           (double)stats.machine.sessions_expired);
    metric(out, "session_heartbeats_total", "counter", "Heartbeats of sessions.", (double)stats.machine.session_beats);
    metric(out, "lock_deadlocks_total", "counter", "Waits that ended since they were one of a circle.",
           (double)figures->lock_deadlocks);
    metric(out, "barriers_and_latches", "gauge", "Barriers that somebody is in, and closed latches.",
           (double)stats.machine.meets);
    metric(out, "meeting_waiters", "gauge", "Who waits at barriers and latches.", (double)stats.machine.meet_waiters);
    metric(out, "meetings_passed_total", "counter", "Who passed a barrier, or waited for a latch to open.",
           (double)stats.machine.meets_passed);
    metric(out, "services", "gauge", "Services that have endpoints.", (double)stats.machine.services);
    metric(out, "endpoints", "gauge", "Endpoints of services.", (double)stats.machine.endpoints);
    metric(out, "endpoints_expired_total", "counter", "Endpoints whose leases ended.",
           (double)stats.machine.endpoints_expired);
    metric(out, "service_changes_total", "counter", "Changes of services.", (double)stats.machine.service_changes);
    metric(out, "service_watches", "gauge", "Services that clients of this node watch.", (double)part->service_watches);
    metric(out, "log_entries_total", "counter", "Log entries applied.", (double)stats.entries);
    metric(out, "log_written_bytes_total", "counter", "Written to the log.", (double)stats.log.bytes_written);
    metric(out, "log_syncs_total", "counter", "Syncs of the log.", (double)stats.log.syncs);
    metric(out, "log_last_sync_seconds", "gauge", "How long the last sync took.", (double)stats.log.last_sync_ns / 1e9);
    metric(out, "log_bytes", "gauge", "Log on disk.", (double)stats.log.bytes_on_disk);
    metric(out, "log_applied_index", "gauge", "Last entry applied.", (double)stats.applied_index);
    metric(out, "snapshots_total", "counter", "Snapshots finished.", (double)stats.snapshots);
    metric(out, "snapshots_installed_total", "counter", "Snapshots taken from other nodes.", (double)stats.installed);
    metric(out, "snapshot_index", "gauge", "Entry of the newest snapshot.", (double)stats.snapshot_index);
    metric(out, "snapshot_bytes", "gauge", "Size of the newest snapshot.", (double)stats.snapshot_bytes);
    buffer_append_string(out, "# HELP cohort_command_calls_total Calls by command.\n"
                              "# TYPE cohort_command_calls_total counter\n");
    for (uint16_t id = 1; id < COMMAND_MAXIMUM; id++) {
        if (figures->by_command[id].calls != 0) {
            buffer_append_format(out, "cohort_command_calls_total{command=\"%s\"} %" PRIu64 "\n",
                                 command_by_id(id)->name, figures->by_command[id].calls);
        }
    }
    free(part);
}
