// Two ICE agents with relayed candidates only, on one TURN server. Prints what happened as JSON.
//
// Arguments: udp or tcp, the server's address and port, user name, password.

#include <nice/agent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MESSAGES = 100, LONGEST = 200 };

static GMainLoop *loop;
static NiceAgent *agents[2];
static guint streams[2], received[2], gathered, ready, sent, closed;
static gint64 start, connected_ms;

static void receive(NiceAgent *agent, guint stream, guint component, guint len, gchar *data, gpointer number) {
    // Each message has another length, and is filled with what its length says.
    static gboolean seen[2][LONGEST + 1];
    int me = GPOINTER_TO_INT(number);
    if (len <= LONGEST && data[len - 1] == (char)len && !seen[me][len]) {
        seen[me][len] = TRUE;
        received[me]++;
    }
    if (received[0] == MESSAGES && received[1] == MESSAGES)
        g_main_loop_quit(loop);
}

static gboolean send_one(gpointer unused) {
    char data[LONGEST];
    guint len = LONGEST - sent;
    memset(data, len, len);
    for (int i = 0; i < 2; i++)
        nice_agent_send(agents[i], streams[i], 1, len, data);
    return ++sent < MESSAGES;
}

static void changed(NiceAgent *agent, guint stream, guint component, guint state, gpointer unused) {
    if (state == NICE_COMPONENT_STATE_FAILED)
        g_main_loop_quit(loop);
    // An agent may become it more than once.
    if (state == NICE_COMPONENT_STATE_READY)
        ready |= agent == agents[0] ? 1 : 2;
    if (ready == 3 && !connected_ms) {
        connected_ms = (g_get_monotonic_time() - start) / 1000;
        g_timeout_add(2, send_one, NULL);
    }
}

static void introduce(NiceAgent *agent, guint stream, gpointer unused) {
    if (++gathered < 2)
        return;
    for (int i = 0; i < 2; i++) {
        gchar *ufrag, *password;
        nice_agent_get_local_credentials(agents[!i], streams[!i], &ufrag, &password);
        nice_agent_set_remote_credentials(agents[i], streams[i], ufrag, password);
        GSList *candidates = nice_agent_get_local_candidates(agents[!i], streams[!i], 1);
        nice_agent_set_remote_candidates(agents[i], streams[i], 1, candidates);
    }
}

static gboolean give_up(gpointer unused) {
    g_main_loop_quit(loop);
    return TRUE;
}

static void end(GObject *agent, GAsyncResult *result, gpointer unused) {
    if (++closed == 2)
        g_main_loop_quit(loop);
}

int main(int argc, char **argv) {
    NiceRelayType type = strcmp(argv[1], "udp") ? NICE_RELAY_TYPE_TURN_TCP : NICE_RELAY_TYPE_TURN_UDP;
    loop = g_main_loop_new(NULL, FALSE);
    start = g_get_monotonic_time();
    for (int i = 0; i < 2; i++) {
        agents[i] = nice_agent_new(NULL, NICE_COMPATIBILITY_RFC5245);
        g_object_set(agents[i], "controlling-mode", !i, "force-relay", TRUE, "upnp", FALSE, "ice-tcp", FALSE, NULL);
        g_signal_connect(agents[i], "candidate-gathering-done", G_CALLBACK(introduce), NULL);
        g_signal_connect(agents[i], "component-state-changed", G_CALLBACK(changed), NULL);
        streams[i] = nice_agent_add_stream(agents[i], 1);
        nice_agent_set_relay_info(agents[i], streams[i], 1, argv[2], atoi(argv[3]), argv[4], argv[5], type);
        nice_agent_attach_recv(agents[i], streams[i], 1, NULL, receive, GINT_TO_POINTER(i));
    }
    for (int i = 0; i < 2; i++)
        nice_agent_gather_candidates(agents[i], streams[i]);
    g_timeout_add_seconds(10, give_up, NULL);
    g_main_loop_run(loop);
    printf("{\"connected_ms\": %d, \"candidates\": [", (int)connected_ms);
    for (int i = 0; i < 2; i++)
        for (GSList *c = nice_agent_get_local_candidates(agents[i], streams[i], 1); c; c = c->next)
            printf("%s\"%s\"", i ? ", " : "", nice_candidate_type_to_string(((NiceCandidate *)c->data)->type));
    printf("], \"received\": [%u, %u]}\n", received[0], received[1]);
    // Ends the allocations.
    for (int i = 0; i < 2; i++)
        nice_agent_close_async(agents[i], end, NULL);
    g_main_loop_run(loop);
}
