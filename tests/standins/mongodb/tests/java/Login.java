import com.mongodb.MongoCommandException;
import com.mongodb.MongoSecurityException;
import com.mongodb.client.MongoClients;
import org.bson.Document;

/** Logs in with the driver that Debezium carries; prints what came of it. Run by login.rs from source. */
public class Login {
    public static void main(String[] uris) {
        for (String uri : uris) {
            try (var client = MongoClients.create(uri)) {
                var found = client.getDatabase("t_login").getCollection("orders").find(new Document("_id", 1)).first();
                System.out.println(found == null ? "nothing" : found.toJson());
            } catch (MongoSecurityException refused) {
                var cause = (MongoCommandException) refused.getCause();
                System.out.println(refused.getMessage().split("\\{")[0] + cause.getErrorCode() + " " + cause.getErrorCodeName());
            } catch (MongoCommandException refused) {
                System.out.println("refused " + refused.getErrorCode() + " " + refused.getErrorCodeName());
            }
        }
    }
}
