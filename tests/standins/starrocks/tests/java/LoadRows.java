// Loads rows with the official SDK and prints what it was answered.
// Arguments: FE host:port, user, password, database, table, rows, plain|transaction

import com.starrocks.data.load.stream.StreamLoadDataFormat;
import com.starrocks.data.load.stream.properties.StreamLoadProperties;
import com.starrocks.data.load.stream.properties.StreamLoadTableProperties;
import com.starrocks.data.load.stream.v2.StreamLoadManagerV2;

public class LoadRows {
    public static void main(String[] args) throws Exception {
        String db = args[3];
        String table = args[4];
        int rows = Integer.parseInt(args[5]);
        StreamLoadTableProperties tableProperties = StreamLoadTableProperties.builder()
                .database(db)
                .table(table)
                .streamLoadDataFormat(StreamLoadDataFormat.JSON)
                // Without a limit every row is a chunk, and every chunk a load.
                .chunkLimit(1 << 20)
                .maxBufferRows(500_000)
                .addProperty("format", "json")
                .addProperty("strip_outer_array", "true")
                .build();
        StreamLoadProperties.Builder builder = StreamLoadProperties.builder()
                .loadUrls(args[0])
                .jdbcUrl("jdbc:mysql://127.0.0.1:1")
                .username(args[1])
                .password(args[2])
                .version("3.5.0")
                .labelPrefix("sdk-")
                .defaultTableProperties(tableProperties)
                .addHeader("timezone", "UTC");
        if (args[6].equals("transaction")) {
            builder.enableTransaction();
        }
        StreamLoadManagerV2 manager = new StreamLoadManagerV2(builder.build(), true);
        manager.setStreamLoadListener(response -> {
            if (response.getBody() != null) {
                System.out.println("status " + response.getBody().getStatus());
            }
        });
        manager.init();
        for (int i = 0; i < rows; i++) {
            manager.write(null, db, table, "{\"id\":" + i + ",\"name\":\"row " + i + "\"}");
        }
        manager.flush();
        Throwable error = manager.getException();
        manager.close();
        if (error != null) {
            error.printStackTrace();
            System.exit(1);
        }
        System.out.println("flushed " + rows);
        System.exit(0);
    }
}
