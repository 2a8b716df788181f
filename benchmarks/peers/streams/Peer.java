// Kafka Streams: 1 KB of state per instrument in RocksDB with a changelog, exactly once (v2), JSON in
// and out, and no model: what a stream processor costs before anything is computed.
//
//     java -cp 'build/peers/libs/*' benchmarks/peers/streams/Peer.java

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsBuilder;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.kstream.Consumed;
import org.apache.kafka.streams.kstream.Produced;
import org.apache.kafka.streams.processor.api.FixedKeyProcessor;
import org.apache.kafka.streams.processor.api.FixedKeyProcessorContext;
import org.apache.kafka.streams.processor.api.FixedKeyRecord;
import org.apache.kafka.streams.state.KeyValueStore;
import org.apache.kafka.streams.state.Stores;

public class Peer {
    static final String MEMORY = "memory";
    static final int MEMORY_BYTES = 1024;

    static class Forecast implements FixedKeyProcessor<byte[], byte[], byte[]> {
        private final ObjectMapper json = new ObjectMapper();
        private FixedKeyProcessorContext<byte[], byte[]> context;
        private KeyValueStore<byte[], byte[]> memory;

        @Override
        public void init(FixedKeyProcessorContext<byte[], byte[]> given) {
            context = given;
            memory = given.getStateStore(MEMORY);
        }

        @Override
        public void process(FixedKeyRecord<byte[], byte[]> record) {
            try {
                ObjectNode tick = (ObjectNode) json.readTree(record.value());
                byte[] row = memory.get(record.key());
                if (row == null) {
                    row = new byte[MEMORY_BYTES];
                }
                double price = tick.get("price").doubleValue();
                ByteBuffer fields = ByteBuffer.wrap(row);
                double before = fields.getDouble(0);
                fields.putDouble(0, price);
                fields.putLong(8, tick.get("ts").longValue());
                memory.put(record.key(), row);
                ObjectNode forecast = json.createObjectNode();
                forecast.set("instrument", tick.get("instrument"));
                forecast.set("ts", tick.get("ts"));
                forecast.put("price", price);
                forecast.put("forecast", before == 0 ? price : (price + before) / 2);
                context.forward(record.withValue(json.writeValueAsBytes(forecast)));
            } catch (java.io.IOException error) {
                throw new java.io.UncheckedIOException(error);
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        String output = System.getenv("FORECASTS");
        Properties settings = new Properties();
        settings.put(StreamsConfig.APPLICATION_ID_CONFIG, output);
        settings.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, System.getenv("BOOTSTRAP"));
        settings.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.EXACTLY_ONCE_V2);
        settings.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
        settings.put(StreamsConfig.STATE_DIR_CONFIG, Files.createTempDirectory("slotcast-streams-").toString());
        settings.put(ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest");

        StreamsBuilder builder = new StreamsBuilder();
        builder.addStateStore(Stores.keyValueStoreBuilder(
                Stores.persistentKeyValueStore(MEMORY), Serdes.ByteArray(), Serdes.ByteArray())
                .withCachingEnabled());
        builder.stream(System.getenv("TICKS"), Consumed.with(Serdes.ByteArray(), Serdes.ByteArray()))
                .processValues(Forecast::new, MEMORY)
                .to(output, Produced.with(Serdes.ByteArray(), Serdes.ByteArray()));

        KafkaStreams streams = new KafkaStreams(builder.build(), settings);
        Runtime.getRuntime().addShutdownHook(new Thread(streams::close));
        streams.start();
    }
}
