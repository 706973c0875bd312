// Reads a topic of Debezium events with the plain consumer and hands each document to the official Stream Load SDK. No column
// is mapped, no key is collapsed, no position is kept: less than the relay does.
// Arguments: FE host:port, bootstrap servers, topic, events. Prints an account of itself as its last line.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.starrocks.data.load.stream.StreamLoadDataFormat;
import com.starrocks.data.load.stream.properties.StreamLoadProperties;
import com.starrocks.data.load.stream.properties.StreamLoadTableProperties;
import com.starrocks.data.load.stream.v2.StreamLoadManagerV2;
import com.sun.management.OperatingSystemMXBean;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

public class ConsumeAndLoad {
    public static void main(String[] args) throws Exception {
        String topic = args[2];
        long events = Long.parseLong(args[3]);
        StreamLoadTableProperties table = StreamLoadTableProperties.builder()
                .database("bench")
                .table("orders")
                .streamLoadDataFormat(StreamLoadDataFormat.JSON)
                .chunkLimit(4 << 20)
                .maxBufferRows(50_000)
                .addProperty("format", "json")
                .addProperty("strip_outer_array", "true")
                .build();
        StreamLoadManagerV2 manager = new StreamLoadManagerV2(StreamLoadProperties.builder()
                .loadUrls(args[0])
                .jdbcUrl("jdbc:mysql://127.0.0.1:1")
                .username("bench")
                .password("")
                .version("3.5.0")
                .labelPrefix("sdk-")
                .defaultTableProperties(table)
                .build(), true);
        manager.init();
        Properties properties = new Properties();
        properties.put("bootstrap.servers", args[1]);
        properties.put("isolation.level", "read_committed");
        properties.put("enable.auto.commit", "false");
        properties.put("max.poll.records", "5000");
        OperatingSystemMXBean system = (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();
        ObjectMapper mapper = new ObjectMapper();
        // The start of the virtual machine is not counted.
        long cpu = system.getProcessCpuTime();
        long began = System.nanoTime();
        long seen = 0;
        try (KafkaConsumer<byte[], byte[]> consumer = new KafkaConsumer<>(
                properties, new ByteArrayDeserializer(), new ByteArrayDeserializer())) {
            TopicPartition partition = new TopicPartition(topic, 0);
            consumer.assign(List.of(partition));
            consumer.seekToBeginning(List.of(partition));
            while (seen < events) {
                for (ConsumerRecord<byte[], byte[]> record : consumer.poll(Duration.ofMillis(100))) {
                    JsonNode after = mapper.readTree(record.value()).get("after");
                    manager.write(null, "bench", "orders", after.asText());
                    seen++;
                }
            }
        }
        manager.flush();
        Throwable error = manager.getException();
        long wall = (System.nanoTime() - began) / 1_000_000;
        long used = (system.getProcessCpuTime() - cpu) / 1_000_000;
        if (error != null) {
            throw new IllegalStateException(error);
        }
        long peak = Files.readAllLines(Path.of("/proc/self/status")).stream()
                .filter(line -> line.startsWith("VmHWM:"))
                .mapToLong(line -> Long.parseLong(line.replaceAll("[^0-9]", "")))
                .findFirst().orElse(0);
        System.out.println("{\"events\":" + seen + ",\"wallMs\":" + wall + ",\"cpuMs\":" + used + ",\"peakKib\":" + peak + "}");
        System.exit(0);
    }
}
